package main

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"
)

var wanted = regexp.MustCompile(`standin-fault-([a-z0-9]+)`)

// misbehave does what the text asks for: a fault of the real one's, or one that a client
// must not fall for. False: it asks for none.
func (s *scanner) misbehave(w http.ResponseWriter, c call, text string) bool {
	m := wanted.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	a := s.reply(c)
	switch m[1] {
	case "slow":
		time.Sleep(tooLong)
	case "eof":
		panic(http.ErrAbortHandler)
	case "half":
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"status":"completed","decision":"al`))
		panic(http.ErrAbortHandler)
	case "429":
		s.fail(w, http.StatusTooManyRequests, "rate_limited", true)
	case "429once":
		if s.once.Add(1) == 1 {
			s.fail(w, http.StatusTooManyRequests, "rate_limited", true)
			return true
		}
		write(w, http.StatusOK, a)
	case "503":
		s.fail(w, http.StatusServiceUnavailable, "scan_deadline_exceeded", true)
	case "error":
		a.Status, a.Decision = "error", ""
		write(w, http.StatusOK, a)
	case "errorallow":
		a.Status = "error"
		write(w, http.StatusOK, a)
	case "kind":
		a.Kind = "tool_call"
		write(w, http.StatusOK, a)
	case "request":
		a.Request = "another"
		write(w, http.StatusOK, a)
	case "maybe":
		a.Decision = "maybe"
		write(w, http.StatusOK, a)
	case "findings":
		a.Findings = []finding{{Rule: "DLP-Something"}}
		write(w, http.StatusOK, a)
	case "garbage":
		_, _ = w.Write([]byte("allow allow allow"))
	case "two":
		write(w, http.StatusOK, a)
		_, _ = w.Write([]byte(`{"status":"error"}`))
	case "huge":
		_, _ = w.Write([]byte(`{"status":"` + strings.Repeat("x", 4<<20) + `"}`))
	case "redirect":
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	case "escapes":
		a.Decision, a.Findings = "deny", []finding{{Rule: "DLP-\x1b[2J\u202e" + strings.Repeat("y", 4000), Message: text}}
		write(w, http.StatusOK, a)
	case "sick":
		s.sick.Store(true)
		write(w, http.StatusOK, a)
	case "pry":
		a.Decision, a.Findings = "deny", []finding{{Rule: "reached: " + strings.Join(pry(), " ")}}
		write(w, http.StatusOK, a)
	case "hoard":
		a.Decision, a.Findings = "deny", []finding{{Rule: "hoarded: " + hoard()}}
		write(w, http.StatusOK, a)
	case "orphans":
		if err := orphan("orphans"); err != nil {
			a.Decision, a.Findings = "deny", []finding{{Rule: err.Error()}}
		}
		write(w, http.StatusOK, a)
	case "crash":
		os.Exit(3)
	default:
		return false
	}
	return true
}
