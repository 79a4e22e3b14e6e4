package admin

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// Grant gives the roles of the modules the rights that Roles describes, and
// takes from them, and from PUBLIC, every other right in the schemas of the
// modules and of the bus. Roles that are missing are created, without a login.
// It changes what differs, in one transaction; called again it changes nothing.
//
// While a process lives, nothing is taken from a module's role: it may be of a
// version that still needs it. What is left is returned, with the processes. With
// revoke everything is taken at once: each module's role may write that a process
// lives, and so could keep its rights.
//
// The URL's user must own the tables, and may create roles unless all are there:
// else the error is Forbidden, and names what to have created. The error is also
// Forbidden, and nothing is changed, if a module's role has rights that this cannot take: as a
// superuser, as a member of another module's role or of the owner, or given by
// somebody else than the owner, or if there are objects of others (checkOwners).
// It names the statement that mends it.
func (r Roles) Grant(ctx context.Context, url string, topo *bus.Topology, modules []string, revoke bool) (left Left, err error) {
	defer errs.Wrap(&err, "grant the modules their rights")
	db, err := postgres.Open(ctx, postgres.Config{URL: url, Schema: catalogOnly, MaxConns: 1, Application: "millrace migrate"})
	if err != nil {
		return Left{}, err
	}
	defer func() { _ = db.Close() }() // the transaction has returned the error, if any
	if err := checkOwners(ctx, db, modules); err != nil {
		return Left{}, err
	}
	if err := errors.Join(r.create(ctx, db, modules), r.apart(ctx, db, topo)); err != nil {
		return Left{}, err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return Left{}, err
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing; else the first error is the one to return
	// One at a time. No module's role may take this lock, as it could an advisory one.
	if _, err := tx.ExecContext(ctx, `LOCK TABLE bus.bus_version IN SHARE UPDATE EXCLUSIVE MODE`); err != nil {
		return Left{}, fmt.Errorf("wait for another migration: %w", err)
	}
	things, err := thingsOf(ctx, tx, modules)
	if err != nil {
		return Left{}, err
	}
	if !revoke {
		if left.Processes, err = livingProcesses(ctx, tx); err != nil {
			return Left{}, err
		}
	}
	var taken []grant
	if left.Rights, taken, err = r.take(ctx, tx, topo, modules, things, len(left.Processes) > 0); err != nil {
		return Left{}, err
	}
	if err := r.lost(ctx, tx, topo, things, taken); err != nil {
		return Left{}, err
	}
	if err := r.give(ctx, tx, topo, modules, things); err != nil {
		return Left{}, err
	}
	if err := tx.Commit(); err != nil {
		return Left{}, err
	}
	return left, checkOwners(ctx, db, modules) // what came while it worked; from here on nobody may create any
}

// take takes what is too much, with what its holders gave to others. kept is what
// has to wait if processes live. Nobody has a right in order to hand it on.
func (r Roles) take(ctx context.Context, tx *sql.Tx, topo *bus.Topology, modules []string, things []thing, living bool) (kept []string, taken []grant, err error) {
	given, err := r.given(ctx, tx, topo, things)
	if err != nil {
		return nil, nil, err
	}
	wanted := map[grant]bool{}
	for _, module := range modules {
		for _, right := range r.rights(topo, module, things) {
			wanted[grant{r.Of(module), right}] = true
		}
	}
	var changes []string
	for g, handsOn := range given {
		if handsOn {
			changes = append(changes, g.text("REVOKE GRANT OPTION FOR", "FROM")+" CASCADE")
		}
		switch {
		case wanted[g]:
		case g.schema == "bus" && g.role != public && !slices.ContainsFunc(modules, func(m string) bool { return r.Of(m) == g.role }):
			// of a module that was migrated here by itself
		case living && g.role != public && !creates(g.verb):
			kept = append(kept, g.text("REVOKE", "FROM"))
		default:
			taken = append(taken, g)
			changes = append(changes, g.text("REVOKE", "FROM")+" CASCADE")
		}
	}
	slices.Sort(kept)
	return kept, taken, change(ctx, tx, changes)
}

// lost makes sure that what was taken is gone: a right that somebody else than the
// owner gave stays.
func (r Roles) lost(ctx context.Context, tx *sql.Tx, topo *bus.Topology, things []thing, taken []grant) error {
	given, err := r.given(ctx, tx, topo, things)
	if err != nil {
		return err
	}
	var faults []error
	for _, g := range taken {
		if _, still := given[g]; still {
			faults = append(faults, errs.New(errs.Forbidden, "role %s has %s on %s from somebody else than the owner, who cannot take it: a superuser, or who gave it, may: %s",
				g.role, g.verb, g.thing.text, g.text("REVOKE", "FROM")))
		}
	}
	return errors.Join(faults...)
}

// apart makes sure that no module's role has another's rights by being its member,
// or all of them, as the owner's member or a superuser.
func (r Roles) apart(ctx context.Context, db *sql.DB, topo *bus.Topology) error {
	roles := make([]string, 0, len(topo.Modules()))
	for _, module := range topo.Modules() {
		roles = append(roles, r.Of(module))
	}
	rows, err := db.QueryContext(ctx, `
		SELECT m.rolname, m.rolsuper, coalesce(o.rolname, '') FROM pg_roles m LEFT JOIN pg_roles o ON NOT m.rolsuper AND o.oid <> m.oid AND pg_has_role(m.oid, o.oid, 'MEMBER')
			AND (o.rolname = ANY($1) OR o.rolsuper OR o.oid = (SELECT nspowner FROM pg_namespace WHERE nspname = 'bus'))
		WHERE m.rolname = ANY($1) AND (m.rolsuper OR o.oid IS NOT NULL) ORDER BY 1, 3`, pq.Array(roles))
	if err != nil {
		return fmt.Errorf("read who is a member of what: %w", err)
	}
	defer rows.Close()
	var faults []error
	for rows.Next() {
		var role, of string
		var super bool
		if err := rows.Scan(&role, &super, &of); err != nil {
			return fmt.Errorf("read who is a member of what: %w", err)
		}
		if super {
			faults = append(faults, errs.New(errs.Forbidden, "role %[1]s is a superuser, and may do everything: ALTER ROLE %[1]s NOSUPERUSER", pq.QuoteIdentifier(role)))
			continue
		}
		faults = append(faults, errs.New(errs.Forbidden, "role %[1]s is a member of %[2]s, and has its rights too: REVOKE %[2]s FROM %[1]s", pq.QuoteIdentifier(role), pq.QuoteIdentifier(of)))
	}
	return errors.Join(append(faults, rows.Err())...)
}

// give gives what is missing. It comes last: who loses a right on a table loses it
// on the columns too.
func (r Roles) give(ctx context.Context, tx *sql.Tx, topo *bus.Topology, modules []string, things []thing) error {
	given, err := r.given(ctx, tx, topo, things)
	if err != nil {
		return err
	}
	var changes []string
	for _, module := range modules {
		for _, right := range r.rights(topo, module, things) {
			g := grant{r.Of(module), right}
			if _, there := given[g]; !there {
				changes = append(changes, g.text("GRANT", "TO"))
			}
		}
	}
	return change(ctx, tx, changes)
}

func change(ctx context.Context, tx *sql.Tx, changes []string) error {
	if len(changes) == 0 {
		return nil
	}
	slices.Sort(changes)
	_, err := tx.ExecContext(ctx, strings.Join(changes, ";\n"))
	return err
}

// create makes the roles that are missing. Who makes them becomes a member, so
// that the owner can serve all modules, each with its own role's rights.
func (r Roles) create(ctx context.Context, db *sql.DB, modules []string) error {
	var refused []string
	var why error
	for _, module := range modules {
		role := r.Of(module)
		var there bool
		if err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, role).Scan(&there); err != nil {
			return err
		}
		if there {
			continue
		}
		_, err := db.ExecContext(ctx, `CREATE ROLE `+pq.QuoteIdentifier(role)+` NOLOGIN; GRANT `+pq.QuoteIdentifier(role)+` TO CURRENT_USER`)
		switch {
		case pq.As(err, pqerror.DuplicateObject, pqerror.UniqueViolation) != nil:
			continue // another migration, perhaps of another database of the server, was faster
		case pq.As(err, pqerror.InsufficientPrivilege) != nil:
			refused, why = append(refused, "CREATE ROLE "+role+" NOLOGIN;"), err
			continue
		case err != nil:
			return err
		}
	}
	if why != nil {
		return errs.New(errs.Forbidden, "this user may not create the modules' roles (%w); have them created, and call it again: %s", why, strings.Join(refused, " "))
	}
	return nil
}

// grant is a right that a role has.
type grant struct {
	role string
	right
}

// public is how GRANT calls everybody.
const public = "PUBLIC"

func (g grant) text(give, to string) string {
	verb, role := g.verb, g.role
	if g.column != "" {
		verb += " (" + pq.QuoteIdentifier(g.column) + ")"
	}
	if role != public {
		role = pq.QuoteIdentifier(role)
	}
	return fmt.Sprintf("%s %s ON %s %s %s %s", give, verb, g.kind, g.thing.text, to, role)
}

// thingsOf lists what there is in the schemas of the bus and of the modules. What
// belongs to an identity column needs no right of its own.
func thingsOf(ctx context.Context, db store.Querier, modules []string) (all []thing, err error) {
	rows, err := db.QueryContext(ctx, `
		WITH n AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = 'bus' OR nspname = ANY($1))
		SELECT oid, 'SCHEMA', nspname, '', quote_ident(nspname) FROM n
		UNION ALL SELECT c.oid, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, nspname, relname, format('%I.%I', nspname, relname)
		FROM pg_class c JOIN n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')
		UNION ALL SELECT p.oid, 'ROUTINE', nspname, proname, format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid))
		FROM pg_proc p JOIN n ON n.oid = pronamespace`, pq.Array(modules))
	if err != nil {
		return nil, fmt.Errorf("read the catalogue: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var t thing
		if err := rows.Scan(&t.oid, &t.kind, &t.schema, &t.name, &t.text); err != nil {
			return nil, fmt.Errorf("read the catalogue: %w", err)
		}
		all = append(all, t)
	}
	return all, rows.Err()
}

// given reads which rights on the things the roles of all modules, and PUBLIC,
// have, and whether they may hand them on.
func (r Roles) given(ctx context.Context, db store.Querier, topo *bus.Topology, things []thing) (map[grant]bool, error) {
	at := make(map[string]thing, len(things))
	for _, t := range things {
		at[fmt.Sprint(t.kind, t.oid)] = t
	}
	roles := make([]string, 0, len(topo.Modules()))
	for _, module := range topo.Modules() {
		roles = append(roles, r.Of(module))
	}
	rows, err := db.QueryContext(ctx, `
		SELECT kind, a.oid, coalesce(a.attname, ''), coalesce(r.rolname, 'PUBLIC'), acl.privilege_type, acl.is_grantable FROM (
			SELECT 'SCHEMA' AS kind, oid, NULL::name AS attname, nspacl AS acl FROM pg_namespace
			UNION ALL SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid, NULL, relacl FROM pg_class
			UNION ALL SELECT 'TABLE', attrelid, attname, attacl FROM pg_attribute WHERE attacl IS NOT NULL
			UNION ALL SELECT 'ROUTINE', oid, NULL, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
		) a CROSS JOIN LATERAL aclexplode(a.acl) acl LEFT JOIN pg_roles r ON r.oid = acl.grantee
		WHERE a.oid = ANY($1) AND (acl.grantee = 0 OR r.rolname = ANY($2))`, pq.Array(slices.Collect(oids(things))), pq.Array(roles))
	if err != nil {
		return nil, fmt.Errorf("read who may do what: %w", err)
	}
	defer rows.Close()
	found := map[grant]bool{}
	for rows.Next() {
		var kind, column, role, verb string
		var oid int64
		var handsOn bool
		if err := rows.Scan(&kind, &oid, &column, &role, &verb, &handsOn); err != nil {
			return nil, fmt.Errorf("read who may do what: %w", err)
		}
		if t, ok := at[fmt.Sprint(kind, oid)]; ok { // oids are unique per kind only
			g := grant{role, right{t, verb, column}}
			found[g] = found[g] || handsOn // there may be several who gave it
		}
	}
	return found, rows.Err()
}

func oids(things []thing) func(func(int64) bool) {
	set := map[int64]bool{}
	for _, t := range things {
		set[t.oid] = true
	}
	return maps.Keys(set)
}

// Suffices is nil if the connection's user has, itself or as a member of other
// roles, every right that the transport needs to serve the hosted modules, and
// may assume their roles if there is a prefix. Else the error is Forbidden, names
// what is missing and what to do. modules are those in this database.
func (r Roles) Suffices(ctx context.Context, db *sql.DB, topo *bus.Topology, modules, hosted []string) (err error) {
	things, err := thingsOf(ctx, db, modules)
	if err != nil {
		return err
	}
	var user string
	if err := db.QueryRowContext(ctx, `SELECT current_user`).Scan(&user); err != nil {
		return fmt.Errorf("ask who this is: %w", err)
	}
	for _, module := range hosted {
		missing, err := lacking(ctx, db, r.rights(topo, module, things), user)
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			more := ""
			if n := len(missing) - 3; n > 0 {
				missing, more = missing[:3], fmt.Sprintf(" and %d more rights", n)
			}
			return errs.New(errs.Forbidden, "user %q lacks %s%s, which module %s needs: set database.role_prefix, run `millrace migrate` as the owner of the tables, and make the user a member of the module's role",
				user, strings.Join(missing, ", "), more, module)
		}
		if r.Prefix == "" {
			continue
		}
		var member bool
		err = db.QueryRowContext(ctx, `SELECT coalesce((SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = $1), false)`, r.Of(module)).Scan(&member)
		if err != nil {
			return fmt.Errorf("ask for the members of %s: %w", r.Of(module), err)
		}
		if !member {
			return errs.New(errs.Forbidden, "user %[1]q is no member of %[2]s, the role of module %[3]s: GRANT %[2]s TO %[1]s, or leave database.role_prefix empty", user, r.Of(module), module)
		}
	}
	return nil
}

// lacking lists which of the rights a user has not.
func lacking(ctx context.Context, db *sql.DB, rights []right, user string) (missing []string, err error) {
	var kinds, verbs, columns []string
	var ids []int64
	for _, g := range rights {
		kinds, verbs, columns, ids = append(kinds, g.kind), append(verbs, g.verb), append(columns, g.column), append(ids, g.oid)
	}
	rows, err := db.QueryContext(ctx, `
		SELECT place FROM unnest($1::text[], $2::oid[], $3::text[], $4::text[]) WITH ORDINALITY AS w(kind, oid, verb, col, place)
		WHERE NOT coalesce(CASE
			WHEN col <> '' THEN has_column_privilege($5::name, oid, col, verb)
			WHEN kind = 'SCHEMA' THEN has_schema_privilege($5::name, oid, verb)
			WHEN kind = 'TABLE' THEN has_table_privilege($5::name, oid, verb)
			WHEN kind = 'SEQUENCE' THEN has_sequence_privilege($5::name, oid, verb)
			ELSE has_function_privilege($5::name, oid, verb) END, true)
		ORDER BY place`, pq.Array(kinds), pq.Array(ids), pq.Array(verbs), pq.Array(columns), user)
	if err != nil {
		return nil, fmt.Errorf("ask what %s may do: %w", user, err)
	}
	defer rows.Close()
	for rows.Next() {
		var place int
		if err := rows.Scan(&place); err != nil {
			return nil, fmt.Errorf("ask what %s may do: %w", user, err)
		}
		missing = append(missing, rights[place-1].verb+" on "+rights[place-1].text)
	}
	return missing, rows.Err()
}
