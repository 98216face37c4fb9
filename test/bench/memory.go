package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const gigabyte = 1_000_000_000

// measureGrowth sends a gigabyte up and another down, at the same time, through an egress
// that has answered some requests. Growth is from what it held then to the most that it
// ever held.
func measureGrowth(ctx context.Context, b *bottle) ([]figure, error) {
	egress, err := b.egress(ctx)
	if err != nil {
		return nil, err
	}
	defer egress.process.end()
	if _, err := egress.ask(ctx, request{path: "/short", send: promptSize}, 100, whole); err != nil {
		return nil, err
	}
	before, err := egress.process.memory("VmRSS")
	if err != nil {
		return nil, err
	}
	client := egress.client(2)
	defer client.CloseIdleConnections()
	var upError, downError error
	var both sync.WaitGroup
	both.Go(func() { _, upError = egress.once(ctx, client, request{path: "/up", send: gigabyte}, whole) })
	both.Go(func() {
		_, downError = egress.once(ctx, client, request{path: fmt.Sprintf("/down?n=%d", gigabyte)}, whole)
	})
	both.Wait()
	if err := errors.Join(upError, downError); err != nil {
		return nil, err
	}
	peak, err := egress.process.memory("VmHWM")
	return []figure{
		atMost("egress.gigabyte_growth_mb", peak-before, "MiB", 30),
		report("egress.gigabyte_peak_mb", peak, "MiB"),
	}, err
}

// manyTunnels is how many idle tunnels the issue asks for.
const manyTunnels = 1000

// measureTunnels opens tunnels, each with a TLS session in which one request was answered,
// until there are enough or egress takes no more.
func measureTunnels(ctx context.Context, b *bottle) ([]figure, error) {
	egress, err := b.egress(ctx)
	if err != nil {
		return nil, err
	}
	defer egress.process.end()
	if _, err := egress.ask(ctx, request{path: "/short"}, 100, whole); err != nil {
		return nil, err
	}
	before, err := egress.process.memory("VmRSS")
	if err != nil {
		return nil, err
	}
	open := 0
	for range manyTunnels {
		conn, err := egress.tunnel(ctx)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close() }()
		open++
	}
	if open == 0 {
		return nil, errors.New("egress takes no tunnel")
	}
	after, err := egress.process.memory("VmRSS")
	if err != nil {
		return nil, err
	}
	total := atMost("egress.idle_tunnels_mb", after, "MiB", 60)
	if open < manyTunnels {
		total = total.unmeasured(fmt.Sprintf("it takes %d tunnels at a time, and holds %.1f MiB then", open, after))
	}
	return []figure{
		atLeast("egress.idle_tunnels", float64(open), "", manyTunnels),
		total,
		report("egress.idle_tunnel_kb", (after-before)*1024/float64(open), "KiB"),
	}, nil
}

// answerWithin is how long a proxy that has room may take to answer.
const answerWithin = 3 * time.Second

// tunnel opens one, asks once, and leaves it open. A proxy that has no room lets it wait:
// os.ErrDeadlineExceeded.
func (s *side) tunnel(ctx context.Context) (_ net.Conn, err error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(s.base, "https://")
	if _, err := say(conn, "CONNECT "+name+":443 HTTP/1.1\r\nHost: "+name+":443\r\n\r\n"); err != nil {
		return nil, err
	}
	secure := tls.Client(conn, &tls.Config{RootCAs: s.roots, ServerName: name})
	answer, err := say(secure, "GET /short HTTP/1.1\r\nHost: "+name+"\r\n\r\n")
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Time{})
}

// say writes a request and reads the head of its answer. After that of CONNECT nothing
// comes unasked, so nothing is lost in the reader.
func say(conn net.Conn, request string) (*http.Response, error) {
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("got %s", answer.Status)
	}
	return answer, err
}

// memory is a field of proc(5)'s status in MiB: VmRSS is what the process holds, VmHWM
// the most that it ever held.
func (p *process) memory(field string) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	match := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB$`).FindSubmatch(data)
	if match == nil {
		return 0, fmt.Errorf("process %d has no %s", p.command.Process.Pid, field)
	}
	kib, err := strconv.ParseFloat(string(match[1]), 64)
	return kib / 1024, err
}

// tick is the unit of times in /proc (USER_HZ), the same on all of Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpu is the processor time that the process has used (proc(5), stat); none where there is
// no process.
func (p *process) cpu() (time.Duration, error) {
	if p == nil {
		return 0, nil
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ") // its name may have spaces in it
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot read the times of process %d", p.command.Process.Pid)
	}
	user, userErr := strconv.Atoi(fields[11])
	system, systemErr := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, errors.Join(userErr, systemErr)
}
