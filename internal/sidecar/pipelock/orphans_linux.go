package pipelock

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// orphans are what pipelock started and left behind, where we are process 1 of a namespace: they end
// with pipelock, and no number of a process is kept by one that has ended. A nil one does nothing.
type orphans struct {
	mu  sync.Mutex
	own int // pipelock, which is left to who waits for it; 0: it does not run
}

// adopt takes orphans in, until stop is called. Never where we are not process 1: it ends every process
// that it can.
func adopt() (o *orphans, stop func()) {
	if os.Getpid() != 1 {
		return nil, func() {}
	}
	o = &orphans{}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			o.reap()
		}
	}()
	return o, func() {
		signal.Stop(ended)
		close(ended)
	}
}

// run runs pipelock to its end, and ends what is left then.
func (o *orphans) run(c *exec.Cmd) error {
	if o == nil {
		return c.Run()
	}
	o.mu.Lock()
	err := c.Start()
	if err == nil {
		o.own = c.Process.Pid
	}
	o.mu.Unlock()
	if err != nil {
		return err
	}
	err = c.Wait()
	o.mu.Lock()
	o.own = 0
	o.mu.Unlock()
	if killed := unix.Kill(-1, unix.SIGKILL); killed != nil && !errors.Is(killed, unix.ESRCH) {
		err = errors.Join(err, killed)
	}
	o.reap()
	return err
}

// reap takes what has ended. When pipelock is the first that has, the rest waits for who waits for it.
func (o *orphans) reap() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		pid := endedChild()
		if pid <= 0 || pid == o.own {
			return
		}
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// endedChild is a child that has ended, and stays so; 0 for none (waitid(2)).
func endedChild() int {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		return 0
	}
	const header = 16 // of three numbers, where a pointer has eight bytes; then comes the process
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), header)))
}
