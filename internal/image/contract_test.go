package image

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"
)

// An image that is not ours alone must fit a bottle, and every reason why it does not is said
// at once. It is told from a step of the Dockerfile that failed.
func TestContract(t *testing.T) {
	b := builder(t, nil)
	good := "RUN useradd --uid 1000 --user-group --create-home node && install -d -o node /workspace\n"
	for name, c := range map[string]struct {
		dockerfile, program string
		want                []string // none: it fits
	}{
		"fits":        {"FROM ${BOT_BOTTLE_BASE}\nUSER root\n", "", nil},
		"bare":        {"FROM " + Base + "\n" + good, "agent", []string{"it does not fit a bottle", "there is git", "there is agent, which runs the agent"}},
		"no user":     {"FROM " + Base + "\n", "", []string{"unable to find user node"}},
		"other user":  {"FROM ${BOT_BOTTLE_BASE}\nUSER root\nRUN usermod --uid 1234 node\n", "", []string{"uid and gid 1000"}},
		"workspace":   {"FROM ${BOT_BOTTLE_BASE}\nUSER root\nRUN chown root /workspace /home/node\n", "", []string{"may write", "and its own"}},
		"setuid":      {"FROM ${BOT_BOTTLE_BASE}\nUSER root\nRUN install -m 4755 /bin/true /opt/surprise\n", "", []string{"setuid", "/opt/surprise"}},
		"goes on":     {"FROM ${BOT_BOTTLE_BASE}\nUSER root\nRUN true \\", "", []string{"uid and gid 1000"}},
		"other shell": {"FROM ${BOT_BOTTLE_BASE}\nSHELL [\"/bin/false\"]\n", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			mark := unique()
			from, rest, _ := strings.Cut(c.dockerfile, "\n")
			dir := tree(t, map[string]string{"Dockerfile": from + "\nLABEL test.mark=" + mark + "\n" + rest})
			got, err := b.EnsureCustom(t.Context(), Custom{Base: "custom", Dockerfile: filepath.Join(dir, "Dockerfile"), Program: c.program}, func(string) {})
			if len(c.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				remove(t, b.Client, got.Ref)
				return
			}
			var failed *BuildError
			if !errors.As(err, &failed) {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %q in %v", want, err)
				}
			}
			labelled, err2 := b.Client.ImageList(t.Context(), client.ImageListOptions{All: true, Filters: client.Filters{}.Add("label", "test.mark="+mark)})
			if err2 != nil || len(labelled.Items) > 0 {
				t.Errorf("left behind: %v, %v", labelled.Items, err2)
			}
			if strings.Contains(err.Error(), contractMark) || !strings.Contains(failed.Hint(), "docs/providers.md") {
				t.Errorf("got %v, %s", err, failed.Hint())
			}
		})
	}
}

// Attack C10: a secret of the bottle's lies beside its Dockerfile, or in it, and would stay in
// the image, which others may get. A build sees neither.
func TestAttackC10_ABuildSeesNoSecret(t *testing.T) {
	secret := "value-of-a-secret"
	c := Custom{Secret: func(data []byte) bool { return strings.Contains(string(data), secret) }}
	dir := tree(t, map[string]string{"Dockerfile": "RUN true\n", "token.txt": secret + "\n", "deep/config.json": `{"key": "` + secret + `"}`, "plain": "x", "a-" + secret: "y"})
	c.Dockerfile = filepath.Join(dir, "Dockerfile")
	built, err := customContext(c, "base:1")
	sent, left := built.sent, built.left
	if err != nil || strings.Contains(string(sent), secret) || strings.Join(left.secret, " ") != "(a file whose name is one) deep/config.json token.txt" || len(left.private) > 0 || !strings.Contains(string(sent), "plain") {
		t.Errorf("left %v behind, %v", left, err)
	}
	dir = tree(t, map[string]string{"Dockerfile": "ENV KEY=" + secret + "\n"})
	c.Dockerfile = filepath.Join(dir, "Dockerfile")
	if _, err := customContext(c, "base:1"); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
}

// A build without a network has none.
func TestOfflineBuild(t *testing.T) {
	b := builder(t, nil)
	for _, offline := range []bool{true, false} {
		dir := tree(t, map[string]string{"Dockerfile": "RUN test \"$(ls /sys/class/net)\" = lo # " + unique() + "\n"})
		got, err := b.EnsureCustom(t.Context(), Custom{Base: "custom", Dockerfile: filepath.Join(dir, "Dockerfile"), Offline: offline}, func(string) {})
		if (err == nil) != offline {
			t.Errorf("offline %v: got %v", offline, err)
		}
		if err == nil {
			remove(t, b.Client, got.Ref)
		}
	}
}
