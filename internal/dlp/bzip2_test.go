package dlp

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"
)

// bzip2Of has the tool do it: Go only decompresses.
func bzip2Of(t *testing.T, data []byte) []byte {
	t.Helper()
	c := exec.Command("bzip2", "-c")
	c.Stdin = bytes.NewReader(data)
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Attack C7: a secret leaves in a bzip2 file whose blocks are longer than what of a long body
// is looked at at a time.
func TestAttackC7_LongBzip2IsSearched(t *testing.T) {
	s := newScanner(t, Options{})
	secret := []byte(" " + canary + " ")
	body := bzip2Of(t, bytes.Join([][]byte{randomBytes(400_000), randomBytes(150_000)}, secret))
	if len(body) < 2*windowSize {
		t.Fatalf("only %d bytes", len(body))
	}
	for _, size := range []int{64 << 10, len(body) + 10} {
		stream, err := s.NewStream(Input{Kind: Body})
		if err != nil {
			t.Fatal(err)
		}
		var all []Finding
		for rest := append([]byte("a file: "), body...); len(rest) > 0 && err == nil; {
			n := min(size, len(rest))
			var findings []Finding
			findings, err = stream.Write(context.Background(), rest[:n])
			all, rest = append(all, findings...), rest[n:]
		}
		stream.Close()
		if err != nil || len(all) == 0 {
			t.Errorf("%d bytes at a time: found %v, %v", size, all, err)
		}
	}
}

// Attack J4: a body begins so many decompressors, of a window of 8 MiB each, that their memory
// is more than there is.
func TestAttackJ4_ManyDecompressorsAtATime(t *testing.T) {
	stream, err := newScanner(t, Options{}).NewStream(Input{Kind: Body})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	begun := []byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, 13 << 3, 0x00, 0x00, 0x10} // and a block of 128 KiB as it is
	n := 0
	for ; n < 100 && err == nil; n++ {
		_, err = stream.Write(context.Background(), begun)
	}
	if !errors.Is(err, ErrBudget) || n > 7 { // 48 MiB
		t.Errorf("%d were begun: %v", n, err)
	}
}
