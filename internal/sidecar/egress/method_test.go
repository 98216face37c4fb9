package egress

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// parts is a multipart body of one field and of a file.
func parts(disposition, file string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"title\"; filename=\"my_method.py\"\r\n\r\n" + file + "\r\n--b\r\n" + disposition + "\r\n\r\nDELETE\r\n--b--\r\n"
}

// Attack B5: a POST, which is allowed, that says in its query or its form that it is a
// DELETE, in one of the spellings that servers take for that name.
func TestAttackB5_AMethodInAFormOrAQuery(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			_, _ = w.Write(body)
		}
	})
	route := up.route("api.example", nil)
	route.Methods = []string{"POST"}
	l := newLab(t, route)
	const urlencoded, multi = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
	long, code := strings.Repeat("x", 3*maxPart), "def f():\n    Content-Disposition = name_method\n"
	var refused, carried []struct{ query, kind, body string }
	add := func(to *[]struct{ query, kind, body string }, kind string, bodies ...string) {
		for _, body := range bodies {
			*to = append(*to, struct{ query, kind, body string }{"", kind, body})
		}
	}
	for _, query := range []string{"_method=DELETE", "a=b&_method=DELETE", "a=b;_method=DELETE", "%5Fmethod=DELETE", "_METHOD=x", "_method", "+_method=x", ".method=x", "_method%00=x", "_method[]=x", "X-HTTP-Method-Override=x", "%u005fmethod=x", "X-HTTP-Method%U002dOverride=x", "%5fmethod[%zz]=x"} {
		refused = append(refused, struct{ query, kind, body string }{query, "", ""})
		if strings.Contains(query, "=") {
			add(&refused, urlencoded, query, "title=x&"+query, "title="+long+"&"+query)
		}
	}
	add(&refused, "", "_method=DELETE")
	add(&refused, "Application/X-WWW-Form-Urlencoded; charset=utf-8", "_method=DELETE")
	add(&refused, urlencoded, strings.Repeat("+", 2*maxPart)+"_method=DELETE", strings.Repeat("%20", 2*maxPart)+"_method=DELETE")
	for _, disposition := range []string{
		`form-data; name="_method"`, `form-data; name=_method`, `form-data; name="\_meth\od"`, `form-data; name*=UTF-8''%5Fmethod`, `form-data; name="a"; name="_method"`,
		"form-data;\r\n name=\"_method\"", "form-data;\n\tname=\"_method\"", `form-data; filename="` + long + `"; name="_method"`, `form-data; name="_METHOD"`, `form-data; name=" _method"`, `form-data; name="=?utf-8?q?=5Fmethod?="`, `form-data; name="=?utf-7?q?+AF8-method?="`, `form-data; name="%u005fmethod"`,
	} {
		add(&refused, multi, parts("Content-Disposition: "+disposition, code), parts("content-disposition : "+disposition, long), parts("X-Y: z\nCONTENT-DISPOSITION:"+disposition, ""))
	}
	carried = append(carried, struct{ query, kind, body string }{"method=x&my_method=y&_methods=z&a=_method", "", ""})
	add(&carried, urlencoded, "method=x&my_method=y&_methodology=z&a=_method%3DDELETE", `{"json":"`+long+`"}`, "_meth", long)
	add(&carried, multi, parts(`Content-Disposition: form-data; name="my_method"; filename="_method"`, code+long), parts(`Content-Disposition: form-data; name="a"`, "\r\n _method name\r\n_method=DELETE\r\n"))
	add(&carried, "application/octet-stream", "_method=DELETE")
	for _, streamed := range []bool{false, true} {
		for want, cases := range map[int][]struct{ query, kind, body string }{403: refused, 200: carried} {
			for _, c := range cases {
				r := request(t, "POST", "https://api.example/?"+c.query, strings.NewReader(c.body))
				if c.kind != "" {
					r.Header.Set("Content-Type", c.kind)
				}
				if streamed {
					r.ContentLength, r.Body = -1, io.NopCloser(threes{strings.NewReader(c.body)})
				}
				response, body := get(t, l.client(t, streamed), r)
				if response.StatusCode != want || want == 200 && body != c.body {
					t.Errorf("%.60q, %s, %.80q, streamed %t: got %d %.200s", c.query, c.kind, c.body, streamed, response.StatusCode, body)
				}
			}
		}
	}
	l.awaitEvent(t, "the refusal", func(e audit.Event) bool {
		return e.Decision == audit.Deny && strings.Contains(e.Reason, "a field of a form that names another method")
	})
}

// threes reads three bytes at a time.
type threes struct{ io.Reader }

func (p threes) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), 3)]) }

// What a library writes as a form is carried, a megabyte of it too.
func TestFormsAreCarried(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(8 << 20); err != nil || len(r.MultipartForm.File["content"]) != 1 || r.FormValue("action") != "file_upload" {
			t.Errorf("got %+v, %v", r.MultipartForm, err)
		}
	})
	l := newLab(t, up.route("upload.example", nil))
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("action", "file_upload")
	part, err := w.CreateFormFile("content", "pkg_method-1.0.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.CopyN(part, zeros{}, 1<<20)
	_ = w.Close()
	r := request(t, "POST", "https://upload.example/", &b)
	r.Header.Set("Content-Type", w.FormDataContentType())
	if response, body := get(t, l.client(t, false), r); response.StatusCode != 200 {
		t.Errorf("got %s %s", response.Status, body)
	}
}

// FuzzFields: what is found of a form does not depend on the pieces in which it comes.
func FuzzFields(f *testing.F) {
	for _, body := range []string{"a=b&_method=x", "%5fmethod=x", "_methodology=x", parts(`Content-Disposition: form-data; name="_method"`, ""), parts("Content-Disposition: form-data;\r\n name=_method", "x"), "\r\n \r\n"} {
		f.Add([]byte(body), 3, false)
		f.Add([]byte(body), 7, true)
	}
	f.Fuzz(func(t *testing.T, body []byte, size int, multi bool) {
		h := http.Header{}
		if multi {
			h.Set("Content-Type", "multipart/form-data")
		}
		whole := formFields(h, notInForms(nil)).look(append(bytes.Clone(body), '&', '\n'))
		var found error
		cut := formFields(h, notInForms(nil))
		size = max(1, size%64)
		for rest := append(bytes.Clone(body), '&', '\n'); len(rest) > 0 && found == nil; {
			n := min(size, len(rest))
			found = cut.look(rest[:n])
			rest = rest[n:]
		}
		if (whole == nil) != (found == nil) {
			t.Errorf("whole: %v, in pieces: %v", whole, found)
		}
	})
}

func TestNamesMethod(t *testing.T) {
	r := request(t, "GET", "https://api.example/", nil)
	for _, name := range []string{"X_http_method_override", "X-Http_Method"} {
		r.Header = http.Header{name: {"DELETE"}}
		if unfit(r) == "" {
			t.Errorf("%s is carried", name)
		}
	}
	if forms(nil).look([]byte("_method=x")) != nil {
		t.Error("a body that is no form is refused")
	}
}
