//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Faults are a JSON object in faults.json of the data directory. Keys and what they do:
//
//	product  "other"                 a program of the same name by somebody else
//	version  TEXT                    what --version says
//	without  "VERB --flag …"         of which it has no such verb, or flag
//	state    STATE                   of every machine that runs
//	halted   STATE                   of every machine that has run and does not
//	network, ports, mounts, labels, image   what status and ls report in place of the truth
//	absent, wrong  "KEY …"           what they do not report, or as something else than it is
//	slow     "VERB DURATION"         before that verb ("all": any) does anything
//	VERB     "garbage" "huge" "empty" "null" "hang"   what it prints in place of its answer; exit status 0
//	VERB     "silent" "killed"       fails with status 1, or 137, and no text
//	VERB     "kvm" "permission" "rootfs" "entitlement" "lost" "library" "broken"   fails with that text
//	VERB     "… once"                the first time only
//	VERB     "after …"               does its work, then fails
//	"exec"   "short"                 prints 8 KiB of what it would, and loses the connection
//	"guest WORDS"                    as VERB, of an exec of our guest's that begins with those words
func (s *store) fault(key string) string { return s.faults[key] }

// of is what a call is known by among the faults: its verb, or what it has our guest do.
func (s *store) of(name string, p parsed) (key, fault string) {
	if name == "exec" && len(p.after) > 2 {
		said := strings.Join(p.after[1:], " ")
		for key, fault := range s.faults {
			if strings.HasPrefix(key, "guest ") && strings.HasPrefix(said+" ", key+" ") {
				return strings.ReplaceAll(key, " ", "-"), fault
			}
		}
	}
	return name, s.fault(name)
}

func (s *store) stall(verb string) {
	which, how, ok := strings.Cut(s.fault("slow"), " ")
	if d, err := time.ParseDuration(how); ok && err == nil && which == verb {
		time.Sleep(d)
	}
}

// texts of failures.
func texts() map[string]string {
	return map[string]string{
		"kvm":         "agent operation failed: start machine: kvm not available: KVM not available. Ensure KVM kernel module is loaded.\nTry: sudo modprobe kvm && sudo modprobe kvm_intel  # (or kvm_amd)",
		"permission":  "agent operation failed: start machine: kvm permission denied: Cannot access /dev/kvm (permission denied).",
		"rootfs":      "agent operation failed: start machine: agent operation failed: verify rootfs: agent rootfs not found: /nowhere/agent-rootfs",
		"entitlement": "agent operation failed: start machine: krun_start_enter returned: -22 (EINVAL — the binary lacks the hypervisor entitlement)",
		"lost":        "agent operation failed: run interactive: connection to VM lost",
		"init":        "agent operation failed: init: init[0] failed (exit 1)",
		"library":     "loading: dynamic library 'libkrunfw.so.4' not found",
		"broken":      "storage operation failed: database disk image is malformed",
	}
}

// fail does what a fault says in a verb's place; done is false when the verb is to run after all.
func (s *store) fail(verb, fault string) (code int, done bool) {
	if rest, once := strings.CutSuffix(fault, " once"); once {
		mark := filepath.Join(s.dir, "fault-"+verb)
		if _, err := os.Stat(mark); err == nil {
			return 0, false
		}
		_ = os.WriteFile(mark, nil, 0o600)
		fault = rest
	}
	switch fault {
	case "garbage":
		fmt.Print("\x1b]0;owned\x07{\"name\": \x00\xff[[[")
		return 0, true
	case "huge":
		chunk := bytes.Repeat([]byte(`{"name":"x"},`), 1<<16)
		_, _ = os.Stdout.WriteString("[")
		for range 256 {
			if _, err := os.Stdout.Write(chunk); err != nil {
				return 1, true
			}
		}
		return 0, true
	case "empty":
		return 0, true
	case "null":
		fmt.Println("null")
		return 0, true
	case "silent":
		return 1, true
	case "killed": // what ran in the machine
		return 137, true
	case "hang":
		time.Sleep(time.Hour)
		return 1, true
	}
	if text, known := texts()[fault]; known {
		_, _ = fmt.Fprintln(os.Stderr, "Error: "+text)
		return 1, true
	}
	return 0, false
}

// later is the failure of a verb that has done its work.
func (s *store) later(verb string) error {
	if fault, ok := strings.CutPrefix(s.fault(verb), "after "); ok {
		return fmt.Errorf("%s", texts()[fault])
	}
	return nil
}
