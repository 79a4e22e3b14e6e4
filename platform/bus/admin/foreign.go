package admin

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"unicode"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

// catalogOnly is the schema of connections that work as the owner: a function or an
// operator that somebody created elsewhere must not fit a call better than the server's.
const catalogOnly = "pg_catalog"

// inSchema are the catalogues of what has a schema and an owner. An index has its
// table's owner.
var inSchema = []struct{ catalogue, schema, owner, only string }{
	{"pg_class", "relnamespace", "relowner", "o.relkind NOT IN ('i', 'I')"},
	{"pg_proc", "pronamespace", "proowner", "true"},
	{"pg_type", "typnamespace", "typowner", "true"},
	{"pg_operator", "oprnamespace", "oprowner", "true"},
	{"pg_opclass", "opcnamespace", "opcowner", "true"},
	{"pg_opfamily", "opfnamespace", "opfowner", "true"},
	{"pg_collation", "collnamespace", "collowner", "true"},
	{"pg_conversion", "connamespace", "conowner", "true"},
	{"pg_ts_config", "cfgnamespace", "cfgowner", "true"},
	{"pg_ts_dict", "dictnamespace", "dictowner", "true"},
	{"pg_statistic_ext", "stxnamespace", "stxowner", "true"},
}

// foreignObjects finds what the roles that are not trusted left in the schemas of the
// bus and of the modules: what they own there, triggers of theirs on tables there, and
// tables of theirs whose foreign keys lead there (their triggers fire when a row that
// they refer to is deleted). Trusted are superusers, the owner of schema bus, the user
// of the connection, and members of these, who can act as the owner anyway. Rules,
// policies and defaults only a table's owner makes, and event triggers a superuser.
func foreignObjects() string {
	owned := []string{`SELECT n.tableoid AS classid, n.oid AS objid, n.nspowner AS owner, NULL AS fix FROM schemas n`}
	for _, c := range inSchema {
		owned = append(owned, fmt.Sprintf(`SELECT o.tableoid, o.oid, o.%[3]s, NULL FROM pg_catalog.%[1]s o JOIN schemas n ON n.oid = o.%[2]s WHERE %[4]s`, c.catalogue, c.schema, c.owner, c.only))
	}
	owned = append(owned, `
		SELECT t.tableoid, t.oid, p.proowner, pg_catalog.format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::pg_catalog.regclass)
		FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN schemas n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal`, `
		SELECT k.tableoid, k.oid, c.relowner, pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::pg_catalog.regclass, k.conname)
		FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class f ON f.oid = k.confrelid JOIN schemas n ON n.oid = f.relnamespace
		JOIN pg_catalog.pg_class c ON c.oid = k.conrelid WHERE k.contype = 'f'`)
	return `
		WITH schemas AS (SELECT tableoid, oid, nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'bus' OR nspname = ANY($1)),
		trusted AS (SELECT oid FROM pg_catalog.pg_roles r WHERE rolname IN (current_user, session_user)
			OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'bus' AND nspowner = r.oid)),
		found AS (` + strings.Join(owned, " UNION ALL ") + `)
		SELECT i.type, i.identity, r.rolname, coalesce(fix, ''), coalesce((SELECT rolname FROM pg_catalog.pg_namespace JOIN pg_catalog.pg_roles o ON o.oid = nspowner WHERE nspname = 'bus'), current_user)
		FROM found f JOIN pg_catalog.pg_roles r ON r.oid = f.owner CROSS JOIN LATERAL pg_catalog.pg_identify_object(f.classid, f.objid, 0) i
		WHERE NOT r.rolsuper AND NOT EXISTS (SELECT FROM trusted t WHERE pg_catalog.pg_has_role(r.oid, t.oid, 'MEMBER'))
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = f.classid AND d.objid = f.objid AND d.deptype = 'i') -- a part of another, as a table's row type
		ORDER BY r.rolname, i.type, i.identity`
}

// checkOwners makes sure that all there is in the schemas of the bus and of the modules
// belongs to the owner, to its members or to a superuser: what somebody else created
// could run with the rights of the owner who migrates. It reads the catalogue only. The
// error is Forbidden, and lists the objects, at most 10, with the statements that mend it.
func checkOwners(ctx context.Context, db *sql.DB, modules []string) error {
	rows, err := db.QueryContext(ctx, foreignObjects(), pq.Array(modules))
	if err != nil {
		return fmt.Errorf("read who owns what: %w", err)
	}
	defer rows.Close()
	const most = 10
	var listed []string
	all := 0
	for rows.Next() {
		var kind, identity, role, fix, owner string
		if err := rows.Scan(&kind, &identity, &role, &fix, &owner); err != nil {
			return fmt.Errorf("read who owns what: %w", err)
		}
		if all++; all <= most {
			listed = append(listed, foreignObject(kind, identity, role, fix, owner))
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read who owns what: %w", err)
	}
	if all == 0 {
		return nil
	}
	if all > most {
		listed = append(listed, fmt.Sprintf("and %d more", all-most))
	}
	return errs.New(errs.Forbidden, "in the schemas of the bus and the modules are objects (%d) of roles that are not the owner, and they could run with the owner's rights. "+
		"Look at each; drop it, or, if it is an operator's, give it to the owner; then migrate again.\n%s", all, strings.Join(listed, "\n"))
}

// foreignObject describes an object and the statements that mend it.
func foreignObject(kind, identity, role, fix, owner string) string {
	const longest = 300
	if len(identity) > longest || strings.ContainsFunc(identity+role+fix, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Sprintf("%s %.300q of role %.100q (look it up in the catalogue: its name is too long, or has characters that do not print)", kind, identity, role)
	}
	if fix == "" {
		statement := strings.ToUpper(strings.TrimSuffix(kind, " object")) + " " + identity // "statistics object"
		fix = "DROP " + statement + "; or ALTER " + statement + " OWNER TO " + pq.QuoteIdentifier(owner)
	}
	return fmt.Sprintf("%s %s of role %s: %s;", kind, identity, role, fix)
}
