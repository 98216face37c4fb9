package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// bundleContainer describes the sidecar bundle: the only container of a bottle with
// a network, and the only one that ever holds a secret, which it reads from its
// standard input.
func (p Plan) bundleContainer(image, networkID, binaries string) client.ContainerCreateOptions {
	pids, memory := int64(256), int64(512<<20) // egress's limits at their worst (egress/busy.go), and as much to let garbage lie
	tmpfs := map[string]string{path.Dir(control.Socket): "rw,noexec,nosuid,nodev,size=64k,mode=0700"}
	mounts := []mount.Mount{binaryMount(binaries), p.volume(roleSockets, control.SocketDir, false)}
	if p.Gate() {
		pids, memory = 512, memory+1<<30 // git's limit of one process
		tmpfs[control.GitKeys] = fmt.Sprintf("rw,noexec,nosuid,nodev,size=4m,mode=0700,uid=%d,gid=%d", control.GitGateUID, control.GitGateUID)
		mounts = append(mounts, p.gitVolume())
	}
	if p.Pipelock != nil {
		mounts = append(mounts, p.pipelockVolume())
	}
	return client.ContainerCreateOptions{
		Name: resource(p.Identity, roleSidecar),
		Config: &container.Config{
			Image:        image,
			User:         "0:0", // until the parent has given each service its own uid
			Hostname:     "sidecar",
			Entrypoint:   []string{control.Binary, "sidecar", "bundle"},
			Labels:       p.labels(roleSidecar),
			OpenStdin:    true,
			AttachStdin:  true,
			AttachStdout: true,
			AttachStderr: true,
			Healthcheck:  &container.HealthConfig{Test: []string{"NONE"}},
		},
		HostConfig: &container.HostConfig{
			NetworkMode:    container.NetworkMode(networkID),
			ExtraHosts:     []string{"host.docker.internal:host-gateway"}, // for routes to the operator's own machine
			ReadonlyRootfs: true,
			CapDrop:        []string{"ALL"},
			CapAdd:         []string{"SETUID", "SETGID", "KILL"}, // give services their uids, and end them
			SecurityOpt:    p.securityOptions(""),
			CgroupnsMode:   "private",
			IpcMode:        "private",
			Tmpfs:          tmpfs,
			LogConfig:      boundedLog("512m"), // standard output is the audit log, which bounds itself below that
			Resources: container.Resources{
				Memory: memory, MemorySwap: memory,
				PidsLimit: &pids,
				Ulimits:   []*container.Ulimit{{Name: "core"}},
			},
			Mounts: mounts,
		},
	}
}

// gitVolume begins as the image has it: of the gate's own uid.
func (p Plan) gitVolume() mount.Mount { return p.volume(roleGit, control.GitDir, false) }

// bundle is a running sidecar bundle that this process started.
type bundle struct {
	id     string
	stream client.HijackedResponse
	ended  chan struct{} // closed when its output has ended
	errors plain.Tail

	unrecorded error // why audit events were lost; read it after ended
}

// why says what ended the bundle. Call it after its end.
func (b *bundle) why() error {
	if b.unrecorded != nil {
		return fmt.Errorf("the bottle was taken down: %w", b.unrecorded)
	}
	return fmt.Errorf("the bottle was taken down, since its sidecar bundle ended: %s", b.errors.Last())
}

// hasEnded reports whether its output has.
func (b *bundle) hasEnded() bool {
	select {
	case <-b.ended:
		return true
	default:
		return false
	}
}

// abandon stops reading the bundle's output, and waits for the reader.
func (b *bundle) abandon() {
	b.stream.Close()
	<-b.ended
}

// readyLimit bounds the time from a bundle's start to its being ready.
const readyLimit = 2 * time.Minute

// startBundle starts a created bundle, hands it its configuration and waits until
// every service listens. Audit lines go to sink for as long as it runs.
func (d *Driver) startBundle(ctx context.Context, id string, config control.BundleConfig, sink io.Writer) (*bundle, error) {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	attached, err := d.Client.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return nil, err
	}
	b := &bundle{id: id, stream: attached.HijackedResponse, ended: make(chan struct{})}
	ready := make(chan control.Ready, 1)
	go func() {
		defer close(b.ended)
		b.read(attached.Reader, ready, sink)
	}()
	if err := d.feedBundle(ctx, id, attached.HijackedResponse, config); err != nil {
		b.abandon()
		return nil, err
	}
	if err := b.await(ctx, ready); err != nil {
		b.abandon()
		return nil, err
	}
	return b, nil
}

// feedBundle starts the container and writes the one document that it reads.
func (d *Driver) feedBundle(ctx context.Context, id string, conn client.HijackedResponse, config control.BundleConfig) error {
	done := d.turn(ctx)
	_, err := d.Client.ContainerStart(ctx, id, client.ContainerStartOptions{})
	done()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(conn.Conn).Encode(config); err != nil { // one line
		return fmt.Errorf("cannot hand the sidecar bundle its configuration: %w", err)
	}
	return nil
}

// dismiss asks the bundle to end, over the stream that it was configured by: a signal
// through the engine would take a process of the runtime's own. It may be repeated.
func (b *bundle) dismiss() { _, _ = io.WriteString(b.stream.Conn, control.End) }

// read splits the container's output into the ready line, audit lines and errors.
func (b *bundle) read(stream io.Reader, ready chan<- control.Ready, sink io.Writer) {
	stdout, out := io.Pipe()
	var lines sync.WaitGroup
	lines.Go(func() {
		defer close(ready)
		defer func() { _, _ = io.Copy(io.Discard, stdout) }()
		buffered := bufio.NewReader(stdout)
		first, err := buffered.ReadBytes('\n')
		var r control.Ready
		if err != nil || json.Unmarshal(first, &r) != nil {
			return
		}
		ready <- r
		if _, err := io.Copy(sink, buffered); err != nil {
			b.unrecorded = fmt.Errorf("cannot write the audit log: %w", err)
			b.dismiss() // what cannot be recorded must not happen
		}
	})
	_, _ = stdcopy.StdCopy(out, &b.errors, stream) // however the stream ends, that is the end
	_ = out.Close()
	lines.Wait()
}

func (b *bundle) await(ctx context.Context, ready <-chan control.Ready) error {
	select {
	case r, ok := <-ready:
		if !ok {
			return fmt.Errorf("the sidecar bundle ended before it was ready: %s", b.errors.Last())
		}
		if !r.Ready {
			return fmt.Errorf("the sidecar bundle could not start: %s", r.Error)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
