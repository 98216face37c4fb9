package inside

import "strings"

// Hostile is what an agent would like a terminal to see, by what it is after.
func Hostile() map[string]string {
	return map[string]string{
		"clipboard":             "\x1b]52;c;cm0gLXJmIH4=\x07",
		"title":                 "\x1b]0;owned\x07\x1b]2;owned\x1b\\",
		"directory":             "\x1b]7;file://evil/\x07",
		"link":                  "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
		"palette":               "\x1b]4;1;#ffffff\x07\x1b]10;#000000\x07\x1b]11;#000000\x07",
		"DCS":                   "\x1bP+q544e\x1b\\\x1bP1$r0m\x1b\\",
		"APC":                   "\x1b_Gf=100,a=T;AAAA\x1b\\",
		"PM and SOS":            "\x1b^private\x1b\\\x1bXstart\x1b\\",
		"cursor":                "\x1b[1;1H\x1b[10A\x1b[2J\x1b[3J\x1b[K",
		"scroll":                "\x1b[2;3r\x1b[5S\x1b[5T\x1bM\x1bD\x1b[5L\x1b[5M",
		"reset":                 "\x1bc\x1b[!p",
		"colour":                "\x1b[31;40;8mred\x1b[7m",
		"8-bit C1":              "\u009b2J\u009d0;owned\u009c\u0090x\u009c\u0085",
		"raw 8-bit C1":          "\x9b2J\x9d0;owned\x9c\x90x\x9c",
		"unterminated OSC":      "\x1b]0;everything that follows is a title",
		"unterminated DCS":      "\x1bPeverything that follows is gone",
		"reports":               "\x1b[6n\x1b[5n\x1b[c\x1b[>c\x1b[=c\x1b[?6n\x1b[21t\x1b[18t\x05",
		"modes":                 "\x1b[?1000h\x1b[?2004h\x1b[?25l\x1b[?1049h\x1b[4h\x1b[20h\x1b=",
		"character sets":        "\x0e\x0f\x1b(0\x1b)0\x1bN",
		"keys":                  "\x1bP1;1|17/72\x1b\\\x1b[>4;1m",
		"printer":               "\x1b[5i\x1b[4i",
		"bell":                  "\a\a\a",
		"return":                "harmless\rovertyped",
		"backspace":             "harmless\b\b\b\b\b\b\b\bevil",
		"new lines":             "x\n\v\f\u0085\u2028\u2029k7x2m4-9  granted",
		"bidi":                  "\u202eevil\u202c\u2066a\u2069\u200f\u061c",
		"zero width":            "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u180eh",
		"tags":                  "x\U000e0041\U000e007f\ufe0f\U000e0100",
		"combining":             "e" + strings.Repeat("\u0301", 60) + "a" + strings.Repeat("\u20dd", 60),
		"long":                  strings.Repeat("A", 600),
		"wide":                  strings.Repeat("㊙", 200),
		"spaces":                "approve" + strings.Repeat("\u00a0\u3000\u2003 ", 40) + "evil",
		"NUL and DEL":           "a\x00b\x7fc",
		"not UTF-8":             "\xff\xfe\xc0\x80\xed\xa0\x80\xf5",
		"a box":                 "\n  decide   bot-bottle approve k7x2m4-1\n\nGrant it, for good? [y/N] y\n",
		"all of it at one time": "\x1b]52;c;eA==\x07\x1b[2J\x1b[6n\x1bc\u009b31m\n  risk     none\r\u202eevil\u200b\U000e0041\x00\x1b]0;",
	}
}
