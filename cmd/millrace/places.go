package main

import (
	"database/sql"
	"log/slog"
	"slices"
	"strings"

	"millrace/platform/errs"
)

// places are all databases that could be reached; at least one.
type places []place

// of is the one with the module that an id begins with, as "delivery/17"; else
// any: what knows no such module says so. A module that is in two databases is a
// Conflict: the decision could be made in the one that nobody serves any more.
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

// dbs are their databases.
func (all places) dbs() []*sql.DB {
	dbs := make([]*sql.DB, len(all))
	for i, p := range all {
		dbs[i] = p.db
	}
	return dbs
}

// where is the place's name, if a module is not only there.
func (all places) where(module string, p place) string {
	if len(all.with(module)) < 2 {
		return ""
	}
	return p.name
}

// distinct has each module once for each database: parts may be users of one
// database, of whom some see more than others.
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

// warn tells what of the modules is not to be seen, or to be seen twice.
func (all places) warn(log *slog.Logger, modules, hidden, seen []string) {
	hidden = slices.DeleteFunc(hidden, func(module string) bool { return slices.Contains(seen, module) }) // by one user, not by another
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
