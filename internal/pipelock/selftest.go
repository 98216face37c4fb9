package pipelock

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// How often pipelock is tested while it is well, and while it is not.
const (
	testEach  = time.Minute
	againEach = 5 * time.Second
)

// Start has pipelock run, and tests it. On error it stays down, until Keep has brought it up.
func (s *Scanner) Start(ctx context.Context) error {
	s.testing.Lock()
	defer s.testing.Unlock()
	return s.settle(s.test(ctx))
}

// Keep tests pipelock again and again until ctx ends, and then lets go of it. changed is
// told when it goes down, with why, and when it is well again, with nil.
func (s *Scanner) Keep(ctx context.Context, changed func(error)) {
	known := s.Down()
	for {
		pause := testEach
		if known != nil {
			pause = againEach
		}
		select {
		case <-time.After(pause):
		case <-s.lost:
		case <-ctx.Done():
			s.letGo()
			return
		}
		if down := s.Down(); down != nil && known == nil {
			known = down
			changed(down)
		}
		down := s.Start(ctx)
		if ctx.Err() == nil && (known == nil) != (down == nil) {
			changed(down)
		}
		known = down
	}
}

// letGo tells who runs pipelock that nobody needs it.
func (s *Scanner) letGo() {
	s.testing.Lock()
	defer s.testing.Unlock()
	s.hangUp()
	_ = s.settle(outage("it has ended"))
}

// Down says why nothing is asked of pipelock, nil while it is well.
func (s *Scanner) Down() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// settle keeps what a test has shown, unless pipelock has ended since.
func (s *Scanner) settle(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.live != nil && s.live.ended() {
		err = outage("it has ended")
	}
	s.down = err
	return err
}

// test asks what can have one answer only: a token must be refused and a word allowed, the
// first of the routes' hosts allowed and one that nobody has refused. The version says less.
func (s *Scanner) test(ctx context.Context) error {
	if err := s.run(ctx); err != nil {
		return err
	}
	token := "ghp_" + strings.Repeat("aB3dE5fG7h", 4)[:36] // worth nothing
	for _, c := range []question{
		{"a harmless word", kindText, "hello", true},
		{"a token", kindText, "the token is " + token, false},
		{"a route's host", kindURL, s.allowedURL(), true},
		{"a host without a route", kindURL, "https://blocked.invalid/", false},
	} {
		if c.text == "" {
			continue
		}
		a, err := s.check(ctx, c)
		if err == nil {
			err = s.compare(a.Version)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// question is one that can have one answer only.
type question struct {
	what, kind, text string
	allowed          bool
}

// check asks it, and makes an error of any other answer.
func (s *Scanner) check(ctx context.Context, c question) (answer, error) {
	a, err := s.ask(ctx, c.kind, c.text)
	switch {
	case errors.As(err, new(*DeniedError)) && !c.allowed, err == nil && c.allowed:
		return a, nil
	case err == nil || errors.As(err, new(*DeniedError)):
		return a, outage("it fails its test: it decides wrongly about %s", c.what)
	}
	return a, fmt.Errorf("%w (in its test)", err)
}

// allowedURL is one of a host that is allowed, "" if there is none.
func (s *Scanner) allowedURL() string {
	for _, host := range s.hosts {
		return "https://" + strings.Replace(host, "*.", "www.", 1) + "/"
	}
	return ""
}

// compare keeps the version, and compares it with the least that the manifest wants.
func (s *Scanner) compare(version string) error {
	s.mu.Lock()
	s.version = version
	s.mu.Unlock()
	least := s.options.MinVersion
	if least == "" {
		return nil
	}
	have, ok := parseVersion(version)
	want, _ := parseVersion(least)
	if !ok {
		return outage("its version %q cannot be compared with min_version %s", version, least)
	}
	for i := range want {
		if have[i] != want[i] {
			if have[i] < want[i] {
				return outage("it is version %s, and min_version is %s", version, least)
			}
			return nil
		}
	}
	return nil
}

var numbered = regexp.MustCompile(`^v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?:[-+ ]|$)`)

// ValidVersion reports whether a version can be compared with another.
func ValidVersion(s string) bool {
	_, ok := parseVersion(s)
	return ok
}

func parseVersion(s string) (v [3]int, ok bool) {
	m := numbered.FindStringSubmatch(s)
	if m == nil {
		return v, false
	}
	for i := range v {
		v[i], _ = strconv.Atoi(m[i+1]) // of six digits; "" is 0
	}
	return v, true
}
