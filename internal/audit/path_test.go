package audit

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestRedactPath(t *testing.T) {
	const hex40 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
	for path, want := range map[string]string{
		"":  "",
		"/": "/",
		// What says which endpoint was called stays.
		"/v1/messages":                                                           "/v1/messages",
		"/repos/acme/widget/issues/12345/labels":                                 "/repos/acme/widget/issues/12345/labels",
		"/repos/acme/widget/actions/runs/11834556723/jobs":                       "/repos/acme/widget/actions/runs/11834556723/jobs",
		"/v1beta/models/gemini-2.5-flash-preview-05-20:streamGenerateContent":    "/v1beta/models/gemini-2.5-flash-preview-05-20:streamGenerateContent",
		"/golang.org/x/tools/@v/v0.0.0-20230101120000-abcdef123456.mod":          "/golang.org/x/tools/@v/v0.0.0-20230101120000-abcdef123456.mod",
		"/@types/node/-/node-22.10.2.tgz":                                        "/@types/node/-/node-22.10.2.tgz",
		"/@types%2fnode":                                                         "/@types%2fnode",
		"/npm/react@18.2.0/umd/react.production.min.js":                          "/npm/react@18.2.0/umd/react.production.min.js",
		"/download/v22.1.0/node-v22.1.0-linux-x64.tar.gz":                        "/download/v22.1.0/node-v22.1.0-linux-x64.tar.gz",
		"/claude-3-5-sonnet-20241022":                                            "/claude-3-5-sonnet-20241022",
		"/com/example/MyVeryLongCamelCaseControllerTest2.java":                   "/com/example/MyVeryLongCamelCaseControllerTest2.java",
		"/docs/a-rather-long-title-of-a-page-with-2-numbers-in-2024.html":        "/docs/a-rather-long-title-of-a-page-with-2-numbers-in-2024.html",
		"/wiki/Pneumonoultramicroscopicsilicovolcanoconiosis":                    "/wiki/Pneumonoultramicroscopicsilicovolcanoconiosis",
		"/wiki/Donaudampfschifffahrtsgesellschaft":                               "/wiki/Donaudampfschifffahrtsgesellschaft",
		"/wiki/%E4%BD%A0%E5%A5%BD%E4%B8%96%E7%95%8C%E4%BD%A0%E5%A5%BD":           "/wiki/%E4%BD%A0%E5%A5%BD%E4%B8%96%E7%95%8C%E4%BD%A0%E5%A5%BD",
		"/sk-learn-tutorials-for-beginners/npm-run-all":                          "/sk-learn-tutorials-for-beginners/npm-run-all",
		"/acme/widget.git/info/refs":                                             "/acme/widget.git/info/refs",
		"/acme/widget/commit/da39a3e":                                            "/acme/widget/commit/da39a3e",
		"/simple/charset-normalizer/":                                            "/simple/charset-normalizer/",
		"/packages/numpy-2.1.3-cp312-cp312-manylinux_2_17_x86_64.whl":            "/packages/numpy-2.1.3-cp312-cp312-manylinux_2_17_x86_64.whl",
		"/x86_64-unknown-linux-gnu/libstdc++6_12.2.0-14_amd64.deb":               "/x86_64-unknown-linux-gnu/libstdc++6_12.2.0-14_amd64.deb",
		"/2025-01-02T03:04:05Z/backup-20250102030405.tar":                        "/2025-01-02T03:04:05Z/backup-20250102030405.tar",
		"/google.pubsub.v1.Publisher/CreateTopicWithSubscriptionAndAcknowledge2": "/google.pubsub.v1.Publisher/CreateTopicWithSubscriptionAndAcknowledge2",
		// Identifiers and secrets go.
		"/v2/library/alpine/blobs/sha256:" + hex40 + "e3b0c44298fc1c149afbf4c8":        "/v2/library/alpine/blobs/sha256:…(64)",
		"/acme/widget/commit/" + hex40:                                                 "/acme/widget/commit/…(40)",
		"/acme/widget/archive/" + hex40 + ".tar.gz":                                    "/acme/widget/archive/…(40).tar.gz",
		"/api/organizations/0b3d2c9e-1f6a-4c1b-9d2e-7a8b9c0d1e2f/chat":                 "/api/organizations/…(36)/chat",
		"/files/file_0B3D2C9E-1F6A-4C1B-9D2E-7A8B9C0D1E2F.pdf":                         "/files/file_…(36).pdf",
		"/users/jane.doe@corp.example/settings":                                        "/users/…(21)/settings",
		"/users/jane.doe%40corp.example":                                               "/users/…(23)",
		"/accounts/123456789012/roles":                                                 "/accounts/…(12)/roles",
		"/services/T00000000/B00000000/XxXpQ9rTf2LmZ8sKd3VwYb7H":                       "/services/T00000000/B00000000/…(24)",
		"/bot123456:ABC-DEF1234ghIkl-zyx57W2v1u123ew11/sendMessage":                    "/…(44)/sendMessage",
		"/k/sk-ant-api03-Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4":                             "/k/…(45)",
		"/k/ghp_16C7e42F292c6912E7710c838347Ae178B4a":                                  "/k/…(40)",
		"/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P": "/t/…(73)",
		"/k/AKIAIOSFODNN7EXAMPLE":                                                      "/k/…(20)",
		"/x/%00%01%02":                                                                 "/x/…(9)",
		"/x/%zz":                                                                       "/x/…(3)",
		"/x/mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dz":                                  "/x/…(40)",
		"/x/qwrtzpsdfghjklxcvbnm":                                                      "/x/…(20)",
		"/x/c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0%3D%3D":                                "/x/…(42)",
	} {
		if got := RedactPath(path, false); got != want {
			t.Errorf("%s\n got %s\nwant %s", path, got, want)
		}
		if got := RedactPath(path, true); got != path {
			t.Errorf("in full: got %s, want %s", got, path)
		}
		if once := RedactPath(path, false); RedactPath(once, false) != once {
			t.Errorf("%s: twice is not once: %s", path, RedactPath(once, false))
		}
	}
}

// Random keys of the usual sizes are found nearly always; a path is still a path.
func TestRedactPathFindsRandomKeys(t *testing.T) {
	const tries = 500
	random := rand.NewChaCha8([32]byte{}) // the same keys each time
	for name, encode := range map[string]func([]byte) string{
		"hex":       hex.EncodeToString,
		"base64":    base64.RawStdEncoding.EncodeToString,
		"base64url": base64.RawURLEncoding.EncodeToString,
		"base32":    base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString,
		"base32lo": func(b []byte) string {
			return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
		},
	} {
		for _, size := range []int{20, 24, 32, 64} {
			missed := 0
			for range tries {
				b := make([]byte, size)
				_, _ = random.Read(b)
				key := strings.ReplaceAll(encode(b), "/", "%2F")
				if strings.Contains(RedactPath("/v1/x/"+key, false), key) {
					missed++
				}
			}
			if missed > tries/25 {
				t.Errorf("%s of %d bytes: %d of %d stayed", name, size, missed, tries)
			}
		}
	}
}

func FuzzRedactPath(f *testing.F) {
	for _, path := range []string{"/v1/%zz/\xff/…(3)", "/123456789012/12345678901", "/a@b.example", "/\x1b[2J", "/ \x7f~"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := RedactPath(path, false)
		if strings.Count(got, "/") != strings.Count(path, "/") {
			t.Errorf("%q became %q", path, got)
		}
		for segment := range strings.SplitSeq(path, "/") {
			if short, long := redactSegment(segment), redactAny(segment); short != long {
				t.Errorf("%q: the short way makes %q, the long way %q", segment, short, long)
			}
		}
		if short, long := Clean(path), cleanAny(path); short != long {
			t.Errorf("%q: cleaned the short way %q, the long way %q", path, short, long)
		}
	})
}
