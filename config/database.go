package config

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"

	"millrace/platform/errs"
	"millrace/platform/postgres/pgurl"
)

// complete adds settings from the environment (libpq's variables) to database
// URLs. An invalid URL is left for Validate.
func (d *Database) complete(environ []string) (faults []error) {
	seen := map[string]bool{}
	add := func(text Secret) Secret {
		u, err := pgurl.Parse(text.Reveal())
		if err != nil {
			return text
		}
		done, wrong := u.Complete(environ)
		for _, fault := range wrong {
			if !seen[fault.Error()] { // the same fault occurs for each database
				seen[fault.Error()], faults = true, append(faults, fault)
			}
		}
		return Secret(done.String())
	}
	if d.URL != "" {
		d.URL = add(d.URL)
	}
	for i, part := range d.Parts {
		d.Parts[i] = add(part)
	}
	return faults
}

var (
	beginsURL = regexp.MustCompile(`^\s*["']?[A-Za-z][A-Za-z0-9+.-]*:`)
	wholeURL  = regexp.MustCompile(`^\s*["']?[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*/`)
)

// splitAddresses splits a list of URLs and files at its commas. A comma belongs
// to a URL, in its password or between its hosts, if it stands before the URL's
// /, or where a password may continue, or among the parameters if the text
// after it has no / and so is not a file. A comma in a database name must be
// written as %2C.
func splitAddresses(list string) (items []string) {
	for piece := range strings.SplitSeq(strings.ReplaceAll(strings.TrimSpace(list), "\n", ","), ",") { // a mounted secret may have one item per line
		last := len(items) - 1
		if last >= 0 && beginsURL.MatchString(items[last]) && !strings.Contains(piece, "://") &&
			(!wholeURL.MatchString(items[last]) || strings.Contains(items[last], "password=") ||
				!strings.ContainsAny(piece, `/\`) && (strings.Contains(items[last], "?") || strings.Contains(piece, "@"))) {
			items[last] += "," + piece
			continue
		}
		items = append(items, piece)
	}
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// isFile reports whether an item of database.parts is a file name: nothing in
// it can be part of a URL.
func isFile(item Secret) bool {
	return item != "" && !strings.ContainsAny(item.Reveal(), "@=?&") && !strings.Contains(item.Reveal(), "://")
}

// CheckDatabase checks a database URL that was read from a file; setting is its
// name in errors. In production it requires encryption and a password that is
// not a default. Validate checks all other URLs.
func (c Config) CheckDatabase(setting, text string) error {
	u, err := pgurl.Parse(text)
	if err == nil {
		err = c.checkSecurity(u)
	}
	if err != nil {
		return errs.InvalidField(setting, "%s", err)
	}
	return nil
}

// checkSecurity reports what the environment does not allow in u.
func (c Config) checkSecurity(u pgurl.URL) error {
	server, err := u.Config()
	if err != nil || c.Environment != Production {
		return err
	}
	if err := u.Encrypted(); err != nil {
		return err
	}
	if err := u.NoSilentPassword(); err != nil {
		return err
	}
	if isDefaultPassword(server.Password) {
		return errors.New(knownPassword)
	}
	return nil
}

func (f *faults) databases(c Config) {
	check := func(setting string, address Secret) {
		if err := c.CheckDatabase(setting, address.Reveal()); err != nil {
			*f = append(*f, err)
		}
	}
	if c.Database.URL != "" {
		check("database.url", c.Database.URL)
	}
	for i, part := range c.Database.Parts {
		switch {
		case isFile(part): // its content is checked when it is read
		case strings.Contains(part.Reveal(), "://"):
			check("database.parts", part)
		default:
			f.add("database.parts", "item %d is neither a URL nor the name of a file: a URL begins with postgres://, and a comma in it is written %%2C", i+1)
		}
	}
}

// redactDatabase returns a database address without secrets.
func redactDatabase(text string) string {
	if u, err := pgurl.Parse(text); err == nil {
		return u.Redacted()
	}
	if isFile(Secret(text)) && (filepath.IsAbs(text) || text[0] == '.') { // anything else may contain a secret
		return text
	}
	if !strings.Contains(text, "://") {
		return redacted
	}
	return redactURL(text)
}
