package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// number parses a flag of type:"number": a decimal integer between the tags min
// and max, whose defaults are the bounds of int64. Kong prefixes the error with the
// flag's name.
func number(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("whole-number")
	if err != nil {
		return err
	}
	text := fmt.Sprint(token.Value)
	least, most, err := limits(ctx.Value.Tag)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < least || n > most {
		return fmt.Errorf("%.40q is not a whole number from %d to %d, in digits only", text, least, most)
	}
	target.SetInt(n)
	return nil
}

func limits(tag *kong.Tag) (least, most int64, err error) {
	least, most = -1<<63, 1<<63-1
	for name, limit := range map[string]*int64{"min": &least, "max": &most} {
		if !tag.Has(name) {
			continue
		}
		if *limit, err = strconv.ParseInt(tag.Get(name), 10, 64); err != nil {
			return 0, 0, fmt.Errorf("the tag %s of this flag: %w", name, err)
		}
	}
	return least, most, nil
}
