package pipelock

import "unicode/utf8"

// Sizes in bytes. A text is cut where its content says so, so that what was put in front of
// it, or behind it, moves no cut elsewhere: a conversation that has grown has new units at
// its end alone.
const (
	minUnit = 256
	maxUnit = 2 << 10
	overlap = 512 // before a unit, that it is looked at with: what lies across a cut is found behind it

	maxChunk = 64 << 10 // of one call, with what overlaps
)

// cutMask makes a cut about every 512 bytes behind the least.
const cutMask = 1<<9 - 1

// span is a part of a text.
type span struct{ from, to int }

// cut divides a text into units. Cuts are at the beginning of a character.
func cut(text string) (units []span) {
	from, hash := 0, uint64(0)
	for i := range len(text) {
		hash = hash<<1 + gear(text[i])
		size := i + 1 - from
		if size < minUnit || size < maxUnit && hash>>32&cutMask != 0 {
			continue
		}
		if i+1 < len(text) && !utf8.RuneStart(text[i+1]) {
			continue
		}
		units, from = append(units, span{from, i + 1}), i+1
	}
	if from < len(text) {
		units = append(units, span{from, len(text)})
	}
	return units
}

// gear spreads a byte over a word (splitmix64's last steps), so that a sum of shifted ones
// depends on the last bytes alone.
func gear(b byte) uint64 {
	x := (uint64(b) + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// wide is a span with what overlaps, from the beginning of a character.
func (s span) wide(text string) span {
	from := max(0, s.from-overlap)
	for from > 0 && !utf8.RuneStart(text[from]) {
		from--
	}
	return span{from, s.to}
}

// chunks puts units that follow each other together, up to what one call takes.
func chunks(units []span) (all [][]span) {
	for _, u := range units {
		if last := len(all) - 1; last >= 0 {
			run := all[last]
			if run[len(run)-1].to == u.from && u.to-run[0].from+overlap+utf8.UTFMax <= maxChunk {
				all[last] = append(run, u)
				continue
			}
		}
		all = append(all, []span{u})
	}
	return all
}
