package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
)

// noTalk keeps the containers of a bridge network from reaching each other.
const noTalk = "com.docker.network.bridge.enable_icc"

// ensureNetwork returns the id of the one network that all bundles share. It belongs
// to everybody on the engine and stays.
func (d *Driver) ensureNetwork(ctx context.Context) (string, error) {
	found, err := d.networks(ctx)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return d.createNetwork(ctx)
	}
	return found[0].ID, checkNetwork(found[0])
}

// networks lists those of our name, in a fixed order.
func (d *Driver) networks(ctx context.Context) ([]network.Summary, error) {
	list, err := d.Client.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("name", networkName)})
	if err != nil {
		return nil, fmt.Errorf("cannot list the engine's networks: %w", err)
	}
	exact := slices.DeleteFunc(list.Items, func(n network.Summary) bool { return n.Name != networkName })
	slices.SortFunc(exact, func(a, b network.Summary) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return exact, nil
}

// createNetwork makes it. Engines before API 1.44 let two of one name be made at the
// same time; then the older one wins and the other goes.
func (d *Driver) createNetwork(ctx context.Context) (string, error) {
	created, createErr := d.Client.NetworkCreate(ctx, networkName, client.NetworkCreateOptions{
		Driver:  "bridge",
		Options: map[string]string{noTalk: "false"},
		Labels:  map[string]string{labelRole: string(roleNetwork)},
	})
	found, err := d.networks(ctx)
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("cannot create the network %s: %w", networkName, createErr)
	}
	if createErr == nil && found[0].ID != created.ID {
		_, _ = d.Client.NetworkRemove(ctx, created.ID, client.NetworkRemoveOptions{})
	}
	return found[0].ID, checkNetwork(found[0])
}

// checkNetwork refuses a network of our name that lets bundles reach each other.
func checkNetwork(n network.Summary) error {
	if n.Driver != "bridge" || n.Options[noTalk] != "false" {
		return fmt.Errorf("the docker network %s is not the one that bot-bottle makes: remove it (docker network rm %s) and try again", networkName, networkName)
	}
	return nil
}

// turnLimit is how long somebody waits for a turn, at most: who has it may be suspended.
const turnLimit = 30 * time.Second

// turn lets one bot-bottle at a time attach a bundle to the network or detach one.
// Engines up to 20.10.26, Debian 12's among them, can hang for good when containers of
// one network come and go at once (moby/moby#46661); those later are asked freely.
// Who got no turn goes on without.
func (d *Driver) turn(ctx context.Context) (done func()) {
	if versions.GreaterThan(d.Client.ClientVersion(), "1.41") {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	done, err := d.State.CacheLock(ctx, "docker-network")
	if err != nil {
		return func() {}
	}
	return done
}
