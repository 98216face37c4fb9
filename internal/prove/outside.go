package prove

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
)

// view is what this side alone can tell or try of an attack.
type view struct {
	id, name, claim string
	look            func() []inside.Attempt
}

// views are all of them, of a bottle that was attacked.
func (s *stage) views(ctx context.Context, running bottle.Bottle, o Options) []view {
	return append(s.screens(ctx, running, o),
		s.hostView(),
		view{"B5", "upstream's record", "only what a rule allows reached the upstream", s.onlyAllowed},
		view{"C1", "credentials, from outside", "each host got our credential or none, and none of the agent's", s.onlyOurs},
		view{"F6", "repository, from outside", "the upstream has the agent's branches and what it had, and no secret among its objects", func() []inside.Attempt { return s.repositoryIsSound(ctx) }},
		view{"E5", "pull", "nothing that the agent left in the workspace runs on the host when its work is fetched", func() []inside.Attempt { return s.pullRunsNothing(ctx, running, o) }},
	)
}

func (s *stage) hostView() view {
	return view{"A8", "host, from outside", "no service of the host was reached by any attack", s.nobodyCame}
}

// Attacks are the numbers of all attacks, from inside and outside.
func Attacks() (ids []string) {
	for _, a := range inside.All() {
		ids = append(ids, a.ID)
	}
	for _, v := range (*stage)(nil).views(context.Background(), nil, Options{}) {
		ids = append(ids, v.id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// look takes those views that are wanted, and no others: some change the bottle.
func look(views []view, only []string) (all []inside.Outcome) {
	for _, v := range views {
		if inside.Names(only, v.id) {
			all = append(all, inside.Outcome{ID: v.id, Name: v.name, Claim: v.claim, User: "host", Attempts: v.look()})
		}
	}
	return all
}

func (s *stage) nobodyCame() []inside.Attempt {
	visits := s.visitors()
	return []inside.Attempt{{What: "look who came to a service of the host", Happened: fmt.Sprintf("%d came %s", len(visits), strings.Join(visits[:min(3, len(visits))], ", ")), Held: len(visits) == 0}}
}

func (s *stage) onlyAllowed() []inside.Attempt {
	var wrong []string
	requests := s.upstream.requests()
	for _, r := range requests {
		target, _, _ := strings.Cut(r.target, "?")
		known := r.host == allowedHost || r.host == otherHost || r.host == limitedHost || strings.HasSuffix(r.host, "."+wildHost)
		method := r.method == "GET" || r.method == "POST" && (r.host == allowedHost || r.host == otherHost)
		if !known || !method || !strings.HasPrefix(target, "/open/") || path.Clean(target) != target || strings.ContainsAny(target, `%\;`) {
			wrong = append(wrong, fmt.Sprintf("%s https://%s%q", r.method, r.host, r.target))
		}
	}
	return []inside.Attempt{{What: "read what reached the upstream", Happened: fmt.Sprintf("%d requests; wrong among them: %s", len(requests), strings.Join(wrong, ", ")), Held: len(wrong) == 0 && len(requests) > 0}}
}

func (s *stage) onlyOurs() []inside.Attempt {
	var wrong []string
	for _, r := range s.upstream.requests() {
		text := fmt.Sprint(r.target, r.header, string(r.body))
		ours := r.header.Get("Authorization") == "Bearer "+s.canary
		switch {
		case strings.Contains(text, "attacker"):
			wrong = append(wrong, "the agent's own key came to "+r.host)
		case ours != (r.host == allowedHost):
			wrong = append(wrong, fmt.Sprintf("our credential at %s: %t", r.host, ours))
		case !ours && strings.Contains(text, s.canary):
			wrong = append(wrong, "our credential in another place, at "+r.host)
		}
	}
	return []inside.Attempt{{What: "read which credentials came", Happened: strings.Join(slices.Compact(wrong), ", "), Held: len(wrong) == 0}}
}

// repositoryIsSound looks at the refs, and at every object that came.
func (s *stage) repositoryIsSound(ctx context.Context) []inside.Attempt {
	git := func(args ...string) (string, error) {
		out, err := hostcmd.OutputWith(ctx, gitEnv(), append([]string{"git", "-C", s.repository()}, args...))
		return string(out), err
	}
	refs, err := git("for-each-ref", "--format=%(refname) %(objectname)")
	first, errFirst := git("rev-list", "--max-parents=0", "--all")
	var wrong []string
	own := 0
	for line := range strings.Lines(refs) {
		ref, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.HasPrefix(ref, "refs/heads/agent/"):
			own++
		case ref == "refs/heads/main" && id == strings.TrimSpace(first):
		default:
			wrong = append(wrong, ref)
		}
	}
	objects, errObjects := git("cat-file", "--batch", "--batch-all-objects")
	leaked := strings.Contains(objects, "ghp_") || strings.Contains(objects, s.canary)
	authors, errAuthors := git("log", "--all", "--format=%ae")
	return []inside.Attempt{
		{What: "list the upstream's refs", Happened: fmt.Sprintf("%d of the agent's; wrong: %s%s", own, strings.Join(wrong, ", "), said(errors.Join(err, errFirst))), Held: len(wrong) == 0 && err == nil && errFirst == nil},
		{What: "look for secrets in all its objects", Happened: fmt.Sprintf("found: %t%s", leaked, said(errObjects)), Held: !leaked && errObjects == nil},
		{What: "look for other people's names", Happened: said(errAuthors), Held: !strings.Contains(authors, "kernel.example") && errAuthors == nil},
	}
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// trap makes a repository of the workspace that would run a program in every way that git
// knows, once somebody works with it. $0 is a file of the host's that it would write.
const trap = `set -e
cd /workspace && git init -q . && git config user.name a && git config user.email a@b.example
echo work > work.txt && echo '*.txt filter=x diff=x merge=x' > .gitattributes && git add -A && git commit -q -m 'work' && git branch -q agent/trap
for key in core.fsmonitor core.sshCommand core.pager core.editor core.askPass diff.external diff.x.textconv diff.x.command merge.x.driver filter.x.smudge filter.x.clean \
	uploadpack.packObjectsHook gpg.program credential.helper sequence.editor; do git config $key "touch '$0'"; done
git config core.hooksPath .git/hooks
for hook in pre-commit post-checkout post-merge pre-push reference-transaction post-update pre-receive update; do printf '#!/bin/sh\ntouch "%s"\n' "$0" > .git/hooks/$hook; chmod 755 .git/hooks/$hook; done
`

// pullRunsNothing sets the trap in the workspace and fetches from it.
func (s *stage) pullRunsNothing(ctx context.Context, running bottle.Bottle, o Options) []inside.Attempt {
	marker, why := filepath.Join(s.dir, "marker"), &bounded{}
	if code, err := running.Run(ctx, []string{"sh", "-c", trap, marker}, bottle.Node, bottle.IO{Stdout: io.Discard, Stderr: why}); err != nil || code != 0 {
		return []inside.Attempt{{What: "set the trap", Happened: fmt.Sprintf("status %d%s: %s", code, said(err), why.kept.String())}}
	}
	here, err := s.emptyRepository(ctx)
	if err != nil {
		return []inside.Attempt{{What: "make a repository here", Happened: err.Error()}}
	}
	_, pulled := o.prints(ctx, here, "pull", running.Name())
	out, err := exec.CommandContext(ctx, "git", "-C", here, "for-each-ref", "--format=%(refname)").Output()
	_, ran := os.Lstat(marker)
	return []inside.Attempt{
		{What: "bot-bottle pull of a trapped workspace", Happened: string(bytes.Join(bytes.Fields(out), []byte(", "))) + said(errors.Join(pulled, err)), Held: pulled == nil && bytes.Contains(out, []byte("agent/trap"))},
		{What: "look whether it ran something here", Happened: said(ran), Held: os.IsNotExist(ran)},
	}
}

// emptyRepository makes one for the operator to work in.
func (s *stage) emptyRepository(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp(s.dir, "here-")
	if err == nil {
		_, err = hostcmd.OutputWith(ctx, gitEnv(), []string{"git", "init", "-q", "-b", "main", dir})
	}
	return dir, err
}
