package smolmachines

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// explain adds what to do to the failures that operators meet.
func explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if told := (interface{ Hint() string })(nil); errors.As(err, &told) {
		return err
	}
	text := err.Error()
	for _, known := range []struct{ part, hint string }{
		{"landlock", "this kernel or smolvm cannot keep a machine's process to its own files; with " + envLandlock + "=off it is started without that wall (docs/smolmachines.md says what is lost)"},
		{"kvm permission denied", "add yourself to the group kvm, and log in again: sudo usermod -aG kvm $USER"},
		{"kvm not available", "load KVM: sudo modprobe kvm_intel, or kvm_amd"},
		{"krun_start_enter returned: -22", "smolvm's program lacks the entitlement com.apple.security.hypervisor: install it again, and run the smolvm on PATH, never smolvm-bin"},
		{"agent rootfs not found", "install smolvm again: its agent rootfs is missing"},
		{"its answer is ", "see whether smolvm machine ls --json works, and what is first on PATH by that name"},
	} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(known.part)) {
			return &hinted{err, known.hint}
		}
	}
	switch {
	case errors.Is(err, unix.ENOSPC), strings.Contains(text, "no space left on device"):
		return &hinted{err, "a disk is full: $BOT_BOTTLE_HOME/cache holds archives of images, and may be emptied"}
	case errors.Is(err, context.DeadlineExceeded):
		return &hinted{err, "smolvm does not answer; once it does, run bot-bottle cleanup"}
	}
	return err
}

// printableState keeps a state to a word.
func printableState(s string) string {
	s = plain.Text(s)
	return s[:min(len(s), 32)]
}
