package demo

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed data/consultations.csv
var embeddedConsultations []byte

// consultation is one line of the embedded file.
type consultation struct {
	Number               int // counted from 1 in this run
	HospitalID, MemberID int64
	Email, Language      string
	OpenedBy             string
	VisitorName, Phone   string
	ReservationAt        string
	DepositAmount        int64 // minor units; 0: none
	DepositCurrency      string
	Script               []step
}

// step is one action in a consultation.
type step struct {
	Do   string // move, time, memo, post, deposit
	Who  string // MEMBER, HOSPITAL or SYSTEM; CUSTOMER or HOSPITAL for post
	What string // the new status, the new time, or the text
}

// userID is the member's id in the format of the other modules.
func (c consultation) userID() string { return strconv.FormatInt(c.MemberID, 10) }

// share is the number of consultations that are played with so many orders: 200 with 1,000.
func share(orders int) int { return (orders + 4) / 5 }

// loadConsultations returns count of the embedded consultations. If count is larger,
// they are repeated as new consultations.
func loadConsultations(count int) ([]consultation, error) {
	rows, err := csv.NewReader(bytes.NewReader(embeddedConsultations)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("the embedded consultations: %w", err)
	}
	taken := make([]consultation, count)
	for i := range taken {
		if taken[i], err = consultationOf(rows[1+i%(len(rows)-1)]); err != nil {
			return nil, fmt.Errorf("the embedded consultations: %w", err)
		}
		taken[i].Number = i + 1
	}
	return taken, nil
}

// consultationOf parses a row: hospital_id, member_id, email, language, opened_by,
// visitor_name, phone, reservation_at, deposit_amount, deposit_currency, script.
func consultationOf(row []string) (c consultation, err error) {
	c = consultation{
		Email: row[2], Language: row[3], OpenedBy: row[4], VisitorName: row[5], Phone: row[6], ReservationAt: row[7], DepositCurrency: row[9],
	}
	if c.HospitalID, err = strconv.ParseInt(row[0], 10, 64); err != nil {
		return c, err
	}
	if c.MemberID, err = strconv.ParseInt(row[1], 10, 64); err != nil {
		return c, err
	}
	if row[8] != "" {
		if c.DepositAmount, err = strconv.ParseInt(row[8], 10, 64); err != nil {
			return c, err
		}
	}
	for text := range strings.SplitSeq(row[10], " | ") {
		s, err := stepOf(text)
		if err != nil {
			return c, err
		}
		c.Script = append(c.Script, s)
	}
	return c, nil
}

// stepOf parses "move FIXED HOSPITAL", "time MEMBER 2027-03-02T10:00:00+09:00",
// "memo some text", "post CUSTOMER some text" or "deposit".
func stepOf(text string) (step, error) {
	do, rest, _ := strings.Cut(text, " ")
	first, last, _ := strings.Cut(rest, " ")
	s := step{Do: do}
	switch do {
	case "move":
		s.What, s.Who = first, last
	case "time", "post":
		s.Who, s.What = first, last
	case "memo":
		s.What = rest
	case "deposit":
		return s, nil
	default:
		return s, fmt.Errorf("%q is no step", text)
	}
	if s.What == "" || s.Who == "" && do != "memo" {
		return s, fmt.Errorf("%q is not complete", text)
	}
	if do == "time" {
		if _, err := time.Parse(time.RFC3339, s.What); err != nil {
			return s, err
		}
	}
	if s.Who != "" && !slices.Contains([]string{"MEMBER", "CUSTOMER", "HOSPITAL", "SYSTEM"}, s.Who) {
		return s, fmt.Errorf("%q: nobody is called %s", text, s.Who)
	}
	return s, nil
}
