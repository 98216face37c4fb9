package dlp

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"
)

// fold is text with what only looks like ASCII turned into it and what does not show
// left out, and where that was done. It is nil when there is nothing of the kind.
func (t *tables) fold(text []byte) (dst []byte, places []place) {
	from := 0
	for i := 0; i < len(text); {
		if i += plainLen(text[i:]); i == len(text) {
			break
		}
		c, size := t.foldAt(text[i:])
		if c == kept {
			i += size
			continue
		}
		if dst == nil {
			dst = make([]byte, 0, len(text))
		}
		dst = append(dst, text[from:i]...)
		places = appendPlace(places, len(dst))
		if c != gone {
			dst = append(dst, c)
		}
		i += size
		from = i
	}
	if from == 0 {
		return nil, nil
	}
	return append(dst, text[from:]...), places
}

// What a rune is folded to, if not to an ASCII character.
const (
	gone = 0
	kept = 0xFF
)

// foldAt folds the rune that text begins with; a byte that is none is kept.
func (t *tables) foldAt(text []byte) (c byte, size int) {
	if text[0] < utf8.RuneSelf {
		return t.folds[text[0]], 1
	}
	r, size := utf8.DecodeRune(text)
	switch {
	case r == utf8.RuneError && size == 1:
		return kept, 1
	case int(r) < len(t.folds):
		return t.folds[r], size
	}
	return foldsTo(r, nil), size
}

// plainLen is how much of the beginning of text is ASCII that shows. Eight bytes are
// judged at a time; the first of them that is suspicious is looked at again.
func plainLen(text []byte) int {
	i := 0
	for i+8 <= len(text) {
		w := binary.LittleEndian.Uint64(text[i:])
		suspicious := (w | (w + lowBits) | (w - 0x20*lowBits)) & highBits // DEL among them
		if suspicious != 0 {
			suspicious &^= sameBytes(w, '\t') | sameBytes(w, '\n') | sameBytes(w, '\r')
		}
		if suspicious == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(suspicious) / 8
		if c := text[i]; c >= utf8.RuneSelf || !shows(c) {
			return i
		}
		i++
	}
	return i + plainSlow(text[i:])
}

func plainSlow(text []byte) int {
	for i, c := range text {
		if c >= utf8.RuneSelf || !shows(c) {
			return i
		}
	}
	return len(text)
}

// foldSpan goes the way of fold again.
func (t *tables) foldSpan(text []byte, start, end int) (int, int) {
	first, last, n := len(text), len(text), 0
	for i := 0; i < len(text) && n < end; {
		c, size := t.foldAt(text[i:])
		out := 1
		switch c {
		case kept:
			out = size
		case gone:
			out = 0
		}
		if n <= start && start < n+out {
			first = i
		}
		i, n = i+size, n+out
		last = i
	}
	return first, last
}

func shows(c byte) bool { return c >= 0x20 && c != 0x7F || c == '\t' || c == '\n' || c == '\r' }

// foldsTo is the ASCII character that r looks like, gone if it does not show, or kept.
func foldsTo(r rune, looks map[rune]byte) byte {
	switch {
	case r < utf8.RuneSelf:
		if shows(byte(r)) {
			return byte(r)
		}
		return gone
	case r >= 0xFF01 && r <= 0xFF5E: // full width
		return byte(r - 0xFF01 + '!')
	case r >= 0xE0020 && r <= 0xE007E: // tags
		return byte(r - 0xE0000)
	case r >= 0x1D400 && r <= 0x1D6A3: // mathematical letters
		return alphabetic(int(r-0x1D400) % 52)
	case r >= 0x1D7CE && r <= 0x1D7FF: // mathematical digits
		return byte('0' + (r-0x1D7CE)%10)
	case r >= 0x24B6 && r <= 0x24E9: // letters in circles
		return alphabetic(int(r - 0x24B6))
	case r >= 0x1F130 && r <= 0x1F149 || r >= 0x1F150 && r <= 0x1F169 || r >= 0x1F170 && r <= 0x1F189: // letters in boxes
		return byte('A' + (r-0x1F130)%0x20)
	case r >= 0x1F1E6 && r <= 0x1F1FF: // regional indicators
		return byte('A' + r - 0x1F1E6)
	case r >= 0x249C && r <= 0x24B5: // letters in parentheses
		return byte('a' + r - 0x249C)
	case r >= 0x2460 && r <= 0x2468: // digits in circles
		return byte('1' + r - 0x2460)
	case r >= 0x2080 && r <= 0x2089:
		return byte('0' + r - 0x2080)
	case r == 0x2070 || r >= 0x2074 && r <= 0x2079:
		return byte('0' + r - 0x2070)
	}
	if c := looks[r]; c != 0 {
		return c
	}
	if invisible(r) {
		return gone
	}
	return kept
}

func alphabetic(i int) byte {
	if i < 26 {
		return byte('A' + i)
	}
	return byte('a' + i - 26)
}

// invisible runes stand between letters without being seen: of no width, of direction,
// variation selectors, marks upon the letter before, and fillers.
func invisible(r rune) bool {
	switch r {
	case 0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0:
		return true
	}
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Variation_Selector) || r >= 0x80 && r < 0xA0
}

// lookalikes lists, for each ASCII character, other runes that are drawn alike: Greek,
// Cyrillic, Armenian and Cherokee letters, letters with marks, dashes, and so on.
const lookalikes = `
A ΑАᎪÀÁÂÃÄÅĀĂĄǍȀȂᴀꓮ
B ΒВᏴꓐℬ
C СϹᏟÇĆĈĊČℂℭꓚⅭ
D ᎠĎĐÐꓓⅮ
E ΕЕᎬÈÉÊËĒĔĖĘĚℰꓰ
F ϜℱꓝҒ
G ԌᏀĜĞĠĢꓖ
H ΗНᎻĤĦℋℌℍꓧ
I ΙІӀÌÍÎÏĨĪĬĮİℐℑꓲⅠ
J ЈᎫĴꓙ
K ΚКᏦĶKꓗ
L ᏞĹĻĽĿŁℒꓡⅬ
M ΜМᎷϺℳꓟⅯ
N ΝÑŃŅŇℕꓠ
O ΟОՕÒÓÔÕÖØŌŎŐꓳ
P ΡРᏢℙꓑ
Q Ԛℚⵕ
R ᏒŔŖŘℛℜℝꓣ
S ЅՏᏚŚŜŞŠȘꓢ
T ΤТᎢŢŤŦȚꓔ
U ՍÙÚÛÜŨŪŬŮŰŲꓴ
V ѴᏙꓦⅤ
W ԜᎳŴꓪ
X ΧХꓫⅩ
Y ΥҮУÝŶŸꓬ
Z ΖᏃŹŻŽℤℨꓜ
a аɑαàáâãäåāăąǎª
b ƄЬᏏ
c сϲçćĉċčⅽᴄ
d ԁďđⅾ
e еҽèéêëēĕėęěℯє
f ſẝƒ
g ɡցĝğġģℊ
h һհĥħℎ
i іıìíîïĩīĭįⅰι
j јϳĵ
k кķĸκ
l ӏⅼĺļľŀłℓǀ
m мⅿ
n ոñńņňŉп
o оοօòóôõöøōŏőºσ
p рρ
q ԛզ
r гŕŗř
s ѕśŝşšșꜱ
t тţťŧțτ
u υսùúûüũūŭůűųц
v νѵⅴᴠ
w ԝѡŵᴡω
x хⅹ×χ
y уүýÿŷγ
z ᴢźżž
0 ߀
1 ¹
2 ²
3 ³Зз
- ‐‑‒–—―−﹣⁃˗
_ ‗﹍﹎﹏
. ․‧·｡。
: ：ː∶։
/ ⁄∕
= ꞊＝﹦
+ ﹢
' ‘’ʼ
" “”
`

// newLooks is that list by rune.
func newLooks() map[rune]byte {
	looks := map[rune]byte{}
	for _, line := range strings.Split(strings.TrimSpace(lookalikes), "\n") {
		for _, r := range line[2:] {
			looks[r] = line[0]
		}
	}
	return looks
}
