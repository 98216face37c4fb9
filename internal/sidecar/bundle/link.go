package bundle

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// A link is a stream between the parent and a service, on which the parent says a new
// configuration, one line, and the service answers whether it is in force, one line
// (control.Ready).

// linkTimeout is how long a service may take to answer.
const linkTimeout = 10 * time.Second

// newLink makes both ends. The caller closes them.
func newLink() (ours net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // no other child may inherit them (syscall.ForkLock)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a service's link: %w", err)
	}
	mine := os.NewFile(uintptr(pair[0]), "link")
	theirs = os.NewFile(uintptr(pair[1]), "link")
	ours, err = net.FileConn(mine)
	if err := errors.Join(err, mine.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// errSilent says that a service did not answer as it should: nobody knows what it goes
// by.
type errSilent struct{ error }

// say hands a configuration over and waits until it is in force.
func say(link net.Conn, config []byte) error {
	_ = link.SetDeadline(time.Now().Add(linkTimeout))
	if _, err := link.Write(append(config, '\n')); err != nil {
		return errSilent{err}
	}
	line, err := bufio.NewReaderSize(link, maxLine).ReadSlice('\n')
	if err != nil {
		return errSilent{err}
	}
	var r control.Ready
	if json.Unmarshal(line, &r) != nil || r.Ready == (r.Error != "") {
		return errSilent{errors.New("its answer makes no sense")}
	}
	if !r.Ready {
		return errors.New(r.Error)
	}
	return nil
}

// hear takes configurations from the parent until the link ends.
func hear[Config any](link net.Conn, apply func(Config) error) {
	reader := bufio.NewReader(link)
	answers := json.NewEncoder(link)
	for {
		data, err := readLine(reader)
		if err != nil || len(data) == 0 {
			return
		}
		var config Config
		err = json.Unmarshal(data, &config)
		clear(data)
		if err != nil {
			err = errors.New("the configuration is not what this version reads")
		} else {
			err = apply(config)
		}
		r := control.Ready{Ready: err == nil}
		if err != nil {
			r.Error = err.Error()
		}
		if answers.Encode(r) != nil {
			return
		}
	}
}
