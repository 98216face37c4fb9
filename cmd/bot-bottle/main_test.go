package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// The test binary is the program where this is set.
const asProgram = "BOT_BOTTLE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// What a signal ends has the exit status that a shell gives such things, so that a script can
// tell it from a failure; and nothing is left behind.
func TestExitStatusOfASignal(t *testing.T) {
	for signal, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		t.Run(signal.String(), func(t *testing.T) {
			home := t.TempDir()
			c := exec.Command(os.Args[0], "init")
			c.Env = append(os.Environ(), asProgram+"=1", "BOT_BOTTLE_HOME="+home)
			terminal, err := pty.Start(c)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = terminal.Close() }()
			var shown bytes.Buffer
			for part := make([]byte, 1024); !strings.Contains(shown.String(), "1. Which agent?"); {
				n, err := terminal.Read(part)
				if err != nil {
					t.Fatalf("got %q, %v", shown.String(), err)
				}
				shown.Write(part[:n])
			}
			if err := c.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_, _ = shown.ReadFrom(terminal) // ends with the process, with EIO
			err = c.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != want || !strings.Contains(shown.String(), "bot-bottle: interrupted\r\n") {
				t.Errorf("got %v, want status %d: %q", err, want, shown.String())
			}
			if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}
