package smolmachines

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// smolvm may list a machine of ours without its labels. What such a machine is can be shown by the
// record that was written before it was made; what cannot be shown is told of, and not touched.

// unlabelled reports whether smolvm tells of none of our labels.
func (m machine) unlabelled() bool {
	for key := range m.Labels {
		if strings.HasPrefix(key, labelPrefix) {
			return false
		}
	}
	return true
}

// whose tells whether a machine is a bottle's of this $BOT_BOTTLE_HOME: by its labels, or, without
// any, by that bottle's record. Then it comes back with the labels that it was made with.
func (d *Driver) whose(m machine, owner, identity string) (machine, bool) {
	if m.Name != machineName(identity) || !bottle.ValidIdentity(identity) {
		return m, false
	}
	if !m.unlabelled() {
		return m, m.Labels[labelOwner] == owner && m.Labels[labelIdentity] == identity
	}
	m.lost = true
	record, err := d.State.Read(identity)
	if err != nil || !d.madeFor(m, record) {
		return m, false
	}
	dir, err := d.usedDirectory(owner, identity)
	if err != nil {
		return m, false
	}
	p := Plan{Dir: dir}
	p.Identity, p.Agent, p.Owner, p.Remove = identity, record.Agent, owner, record.Remove
	m.Labels = p.labels()
	return m, true
}

// madeFor reports whether a machine can be no other than the one of a record: it is where that says,
// it began as the archive that was made for it, which holds our own binary, and it was made in the
// bottle's first run. Of a later run the record says only that it is older.
func (d *Driver) madeFor(m machine, r state.Metadata) bool {
	began := r.StartedAt.Unix()
	return r.Backend == d.Name() && r.Place == d.place() && r.ImageID != "" && m.Image == imageOf(r.ImageID) &&
		(r.Runs == 1 && m.CreatedAt >= began || r.Runs > 1 && m.CreatedAt <= began)
}

// imageOf is what smolvm calls the image of an archive.
func imageOf(sha string) string { return "local:" + sha }

// usedDirectory is the directory of a bottle's sockets: the one that there is, else the one that it
// would get.
func (d *Driver) usedDirectory(owner, identity string) (string, error) {
	for _, base := range d.bases() {
		dir := filepath.Join(base, directoryName(owner, identity))
		if _, err := os.Lstat(dir); err == nil {
			return dir, nil
		}
	}
	return d.directory(owner, identity)
}

// belonging sorts out whose machines are: those of this home's bottles, and those without labels that
// are named as one of its bottles and cannot be shown to be it.
func (d *Driver) belonging(all []machine, owner string) (ours, doubtful map[string]machine, err error) {
	ours, doubtful = map[string]machine{}, map[string]machine{}
	var known []string // read only if there is need to
	for _, m := range all {
		if !m.unlabelled() {
			if m, mine := d.whose(m, owner, m.Labels[labelIdentity]); mine {
				ours[m.Labels[labelIdentity]] = m
			}
			continue
		}
		identity, named := strings.CutPrefix(m.Name, namePrefix)
		if !named {
			continue
		}
		if known == nil {
			if known, err = d.State.Identities(); err != nil {
				return nil, nil, err
			}
		}
		for _, candidate := range known {
			if machineName(candidate) == m.Name {
				identity = candidate
			}
		}
		if m, mine := d.whose(m, owner, identity); mine {
			ours[identity] = m
		} else if bottle.ValidIdentity(identity) && d.mayBeOurs(m, identity) {
			doubtful[identity] = m
		}
	}
	return ours, doubtful, nil
}

// mayBeOurs reports whether there is anything of ours that speaks of a machine by its name.
func (d *Driver) mayBeOurs(m machine, identity string) bool {
	if r, err := d.State.Read(identity); r.Backend != "" || err == nil {
		return r.Backend == d.Name() && cmp.Or(r.Place, d.place()) == d.place()
	}
	if _, err := os.Lstat(d.State.Dir(identity)); err == nil {
		return true // its record is damaged
	}
	sha, local := strings.CutPrefix(m.Image, imageOf(""))
	a, err := d.rootsOf(sha)
	return local && err == nil && a.Path != ""
}

// doubt says that a machine cannot be shown to be a bottle's, and what to do.
func (m machine) doubt() error {
	return withHint("if it is that bottle's: "+m.byHand(), "smolvm lists machine %s without the labels of bot-bottle, and its record does not show it to be this bottle's", m.Name)
}

// byHand is how the operator removes a machine.
func (m machine) byHand() string {
	return fmt.Sprintf("smolvm machine delete --name %s --force", m.Name)
}
