package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// Usual is a set-up that agents are often run in. bot-bottle prove shows what it lets through.
type Usual string

const (
	UsualRun      Usual = "docker-run"              // docker run, with nothing said
	UsualInternal Usual = "docker-internal-network" // on an internal network, where only a proxy should be reached
)

// Usuals are all of them.
func Usuals() []Usual { return []Usual{UsualInternal, UsualRun} }

const roleUsual role = "usual"

// WithUsual makes a container of that set-up from the usual agent's image, with our binary in
// it, hands it to f, and removes it. Of its Bottle only Run works.
func (d *Driver) WithUsual(ctx context.Context, u Usual, say bottle.Progress, f func(bottle.Bottle) error) (err error) {
	owner, err := d.State.Owner()
	if err != nil {
		return err
	}
	image, err := d.Images.Ensure(ctx, "claude", say.Say)
	if err != nil {
		return err
	}
	labels := map[string]string{labelOwner: owner, labelRole: string(roleHelper)}
	host := &container.HostConfig{}
	if u == UsualInternal {
		name, remove, err := d.internalNetwork(ctx, owner)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, remove()) }()
		host.NetworkMode = container.NetworkMode(name)
	}
	id, err := d.create(ctx, client.ContainerCreateOptions{
		Config: &container.Config{Image: image.ID, Entrypoint: []string{"sleep"}, Cmd: []string{"infinity"}, Labels: labels, User: "root"}, HostConfig: host,
	})
	if err != nil {
		return fmt.Errorf("cannot make the container to compare with: %w", err)
	}
	defer func() { err = errors.Join(err, d.removeContainer(ctx, id)) }()
	archive, err := d.binaryArchive(strings.TrimPrefix(control.Binary, "/"))
	if err != nil {
		return err
	}
	if _, err := d.Client.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: archive}); err != nil {
		return err
	}
	if _, err := d.Client.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		return err
	}
	return f(&Bottle{driver: d, identity: string(u), agent: &agent{id: id}})
}

// internalNetwork makes one, and takes away what earlier ones were left.
func (d *Driver) internalNetwork(ctx context.Context, owner string) (name string, remove func() error, err error) {
	ours := client.Filters{}.Add("label", labelOwner+"="+owner).Add("label", labelRole+"="+string(roleUsual))
	if old, err := d.Client.NetworkList(ctx, client.NetworkListOptions{Filters: ours}); err == nil {
		for _, n := range old.Items {
			_, _ = d.Client.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		}
	}
	made, err := d.Client.NetworkCreate(ctx, "bot-bottle-usual-"+owner[:8], client.NetworkCreateOptions{
		Driver: "bridge", Internal: true, Labels: map[string]string{labelOwner: owner, labelRole: string(roleUsual)},
	})
	if err != nil {
		return "", nil, fmt.Errorf("cannot make an internal network to compare with: %w", err)
	}
	return made.ID, func() error {
		_, err := d.Client.NetworkRemove(context.WithoutCancel(ctx), made.ID, client.NetworkRemoveOptions{})
		return err
	}, nil
}
