// Package text defines the rules for text that people type, for the API, CSV
// files and the command line.
//
// [Line] is for a single line: names, addresses, reasons, keys. [Lines] is for
// messages and notes, which may contain line breaks and tabs. Both normalize
// text before it is counted, compared or stored:
//
//   - to Unicode NFC: what macOS sends as ᄒ + ᅡ + ᆫ becomes 한, so that the same
//     name has the same bytes;
//   - without blanks at either end; in Lines every line break becomes "\n".
//
// Both reject invalid UTF-8, control characters, private-use characters,
// noncharacters, and more than 8 combining marks in a row.
//
// Line also rejects characters that are invisible or change the direction of
// the text after them: two names that look the same must be the same. Joiners,
// variation selectors and tags are accepted where a script or an emoji needs
// them: in Persian, Arabic, Malayalam and similar scripts, in Japanese variants
// of ideographs, and in 👩‍⚕️ or 🏴󠁧󠁢󠁳󠁣󠁴󠁿. Lines accepts invisible characters,
// because pasted text contains them, but a message must also have a visible
// character. Directional embeddings and isolates must end in the line where
// they begin; overrides are rejected.
//
// Length limits count characters: Unicode code points in NFC, without blanks at
// the ends ([Length]). 한 is one, é is one, 👍🏽 is two.
//
// Line rejects code points that are not in this program's Unicode tables,
// except in the ranges where new emoji and ideographs are added.
package text
