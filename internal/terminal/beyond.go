package terminal

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What is known to draw is told by regular expressions over the whole, so that this shares
// nothing with Filter, which it judges.
var (
	onlyDraws = regexp.MustCompile(`^(?:[\x20-\x7e]|[\x07-\x0f]|\x1b[78DEHM=>]|\x1b[()*+][0AB]|\x1b#8` +
		`|\x1b\[[0-9;:]*[@A-HIKLMPSXZ` + "`" + `abdefgjkmrsu]|\x1b\[[0-2]?J|\x1b\[[0-9]*T|\x1b\[4[hl]|\x1b\[\?[0-9;]*[hl]|\x1b\[\?[0-9;:]*[JK]` +
		`|\x1b\[[0-9;:]* q|\x1b\[[0-9;:]*!p|\x1b\[[>=<][0-9;]*u|\x1b\[>4[0-9;:]*m|\x1b\]8;[ -~]*\x1b\\` +
		`|[\x{a0}-\x{2029}\x{202f}-\x{2065}\x{206a}-\x{10ffff}])*`)
	badModes = regexp.MustCompile(`\x1b\[\?(?:[0-9;]*;)?(?:2|3|4|10|18|19|40|67|69|80|95|1001|1034|1035|1036|1042|1043|2028|2031|2048|5522|9001)[;hl]`)
	files    = regexp.MustCompile(`(?i)\x1b\]8;[^;]*;[^hm\x1b]`)
)

// Beyond says what is in out, which was written to a terminal, that does more there than draw
// on its screen: "" if nothing.
func Beyond(out []byte) string {
	if known := len(onlyDraws.Find(out)); known < len(out) {
		return fmt.Sprintf("%q does more than draw", out[known:min(len(out), known+24)])
	}
	if !utf8.Valid(out) { // which regular expressions do not tell from U+FFFD
		return "bytes that are not UTF-8: some terminals take them for controls"
	}
	if found := badModes.Find(out); found != nil {
		return fmt.Sprintf("%q sets a mode that reports, or is not the screen's", found)
	}
	if found := files.Find(out); found != nil {
		return fmt.Sprintf("%q is a link beyond the web", found)
	}
	return ""
}

var (
	privateModes = regexp.MustCompile(`\x1b\[\?([0-9;]+)([hl])`)
	insertMode   = regexp.MustCompile(`\x1b\[4([hl])`)
	rendition    = regexp.MustCompile(`\x1b\[([0-9;:]*)m`)
	region       = regexp.MustCompile(`\x1b\[([0-9;]*)r`)
	letters      = regexp.MustCompile(`\x1b\((.)`)
	keysPushed   = regexp.MustCompile(`\x1b\[>[0-9;]*u`)
	keysPopped   = regexp.MustCompile(`\x1b\[<([0-9]*)u`)
	links        = regexp.MustCompile(`\x1b\]8;[^;]*;([ -~]*)\x1b\\`)
)

// Odd says in which state other than its usual one a terminal is left to which out was
// written: "" if it is as shells want it.
func Odd(out []byte) string {
	modes := map[string]string{}
	for _, m := range privateModes.FindAllSubmatch(out, -1) {
		for mode := range strings.SplitSeq(string(m[1]), ";") {
			modes[mode] = string(m[2])
		}
	}
	for mode, state := range modes {
		if on := mode == "7" || mode == "25"; on != (state == "h") { // lines wrap, the cursor is seen
			return "mode " + mode + " is left " + map[string]string{"h": "on", "l": "off"}[state]
		}
	}
	for what, c := range map[string]struct {
		found *regexp.Regexp
		usual string
	}{"insert mode": {insertMode, "l"}, "colours": {rendition, ""}, "a scroll region": {region, ""}, "the letters": {letters, "B"}, "a link": {links, ""}} {
		if last := lastOf(c.found, out); last != nil && strings.TrimLeft(string(last), "0") != c.usual {
			return fmt.Sprintf("%s: %q came last", what, last)
		}
	}
	pushed := len(keysPushed.FindAll(out, -1))
	for _, m := range keysPopped.FindAllSubmatch(out, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		pushed -= max(n, 1)
	}
	if pushed > 0 {
		return "how keys are told is changed"
	}
	if bytes.LastIndexByte(out, 0x0e) > bytes.LastIndexByte(out, 0x0f) {
		return "the other letters are shifted in"
	}
	return ""
}

func lastOf(what *regexp.Regexp, out []byte) []byte {
	all := what.FindAllSubmatch(out, -1)
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1][1]
}
