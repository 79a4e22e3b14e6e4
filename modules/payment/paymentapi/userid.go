package paymentapi

import (
	"regexp"
	"strings"
)

// maxUserID is the greatest length of a user id in bytes.
const maxUserID = 64

// userIDForm is the format of a user id. It has no dot at either end, because "."
// and ".." are path segments and many programs strip a trailing dot.
var userIDForm = regexp.MustCompile(`^[A-Za-z0-9_-]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?$`)

// separators removes the characters that may separate the digits of a telephone
// number.
var separators = strings.NewReplacer("-", "", ".", "", "_", "")

// Formats of personal numbers. The first three match digits without separators.
var (
	nationalNumber = regexp.MustCompile(`^0[1-9][0-9]{7,10}$`)                                            // 010-1234-5678, 02-123-4567
	dialledNumber  = regexp.MustCompile(`^00[1-9][0-9]{8,13}$`)                                           // 0082-10-1234-5678
	koreanMobile   = regexp.MustCompile(`^820?1[016789][0-9]{7,8}$`)                                      // 82-10-1234-5678
	residentNumber = regexp.MustCompile(`^[0-9]{2}(0[1-9]|1[0-2])[0-3][0-9][-._][1-8][0-9]{6}$`)          // 900101-1234567
	cardNumber     = regexp.MustCompile(`^[3-6][0-9]{3}([-._][0-9]{4}){3}$`)                              // 4111-1111-1111-1111
	groupedNumber  = regexp.MustCompile(`^([0-9]{1,3}[-._]){0,1}[0-9]{1,4}[-._][0-9]{3,4}[-._][0-9]{4}$`) // 415-555-1234, 44-20-7946-0958
)

// UserIDFault returns what is wrong with a user id of a new order or contact, as a
// text to follow the field's name, or "". The rules:
//
//   - 1 to 64 bytes of A–Z a–z 0–9 '_' '.' '-', without '.' at either end, and
//     therefore no e-mail address;
//   - no telephone number, because events that contain the id are kept. With or
//     without '-', '.' and '_', these are 9 to 12 digits that begin with one 0, 11
//     to 16 digits that begin with 00, a Korean mobile number after 82, and digit
//     groups such as 415-555-1234 and 44-20-7946-0958. Other numbers, such as 42,
//     1000123 and 20260102-0001, are allowed;
//   - no resident registration number with its hyphen, and no card number in
//     groups of four.
//
// Messages about orders that were paid before a rule existed keep their id.
func UserIDFault(id string) string {
	digits := separators.Replace(id)
	switch {
	case strings.Contains(id, "@"):
		return "must not be an e-mail address, because it stays in events: use the id that the user has in your system"
	case len(id) > maxUserID || !userIDForm.MatchString(id):
		return "must be 1 to 64 letters (A to Z), digits, '_', '.' or '-', without '.' at either end"
	case nationalNumber.MatchString(digits), dialledNumber.MatchString(digits), koreanMobile.MatchString(digits), groupedNumber.MatchString(id):
		return "must not be a telephone number, because it stays in events: use the id that the user has in your system"
	case residentNumber.MatchString(id), cardNumber.MatchString(id):
		return "must not be a resident registration number or a card's, because it stays in events: use the id that the user has in your system"
	}
	return ""
}
