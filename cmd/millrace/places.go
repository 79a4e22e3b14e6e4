package main

import (
	"database/sql"
	"log/slog"
	"slices"
	"strings"

	"millrace/platform/errs"
)

// places are the databases that a command could open; at least one.
type places []place

// of returns the place of the module that an id begins with, as in "delivery/17". If
// no place has that module, it returns any place, whose query then reports it. If
// two places have the module, the error is Conflict: a decision might be stored in
// the database that is no longer served.
func (all places) of(id string) (place, error) {
	module, _, _ := strings.Cut(id, "/")
	with := all.with(module)
	switch len(with) {
	case 0:
		return all[0], nil
	case 1:
		return with[0], nil
	}
	return place{}, errs.New(errs.Conflict, "%s is not decided: module %s is in %s; take the stale one out of database.parts", id, module, with.names())
}

func (all places) with(module string) (with places) {
	for _, p := range all {
		if slices.Contains(p.here, module) {
			with = append(with, p)
		}
	}
	return with
}

func (all places) names() string {
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	return strings.Join(names, " and in ")
}

// dbs returns the places' databases.
func (all places) dbs() []*sql.DB {
	dbs := make([]*sql.DB, len(all))
	for i, p := range all {
		dbs[i] = p.db
	}
	return dbs
}

// where is the place's name if other places have the module, too; otherwise "".
func (all places) where(module string, p place) string {
	if len(all.with(module)) < 2 {
		return ""
	}
	return p.name
}

// distinct keeps each module once per database, because several parts may be users
// of the same database with different rights.
func (all places) distinct() (kept places) {
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b place) int { return len(b.here) - len(a.here) })
	seen := map[string]bool{}
	for _, p := range order {
		p.here = slices.DeleteFunc(slices.Clone(p.here), func(module string) bool { return seen[p.same+" "+module] })
		for _, module := range p.here {
			seen[p.same+" "+module] = true
		}
		if len(p.here) > 0 {
			kept = append(kept, p)
		}
	}
	return kept
}

// warn logs the modules that are hidden from the user, in no database, or in two.
func (all places) warn(log *slog.Logger, modules, hidden, seen []string) {
	hidden = slices.DeleteFunc(hidden, func(module string) bool { return slices.Contains(seen, module) }) // hidden from one user, but visible to another
	if len(hidden) > 0 {
		log.Warn("this database user may not see all modules; the owner of the tables may", "hidden", hidden)
	}
	var missing []string
	for _, module := range modules {
		if !slices.Contains(seen, module) && !slices.Contains(hidden, module) {
			missing = append(missing, module)
		}
		if with := all.with(module); len(with) > 1 {
			log.Warn("a module is in two databases: take the stale one out of database.parts", "module", module, "databases", with.names())
		}
	}
	if len(missing) > 0 {
		log.Warn("these modules were not looked at: name every module's database in database.parts", "missing", missing)
	}
}
