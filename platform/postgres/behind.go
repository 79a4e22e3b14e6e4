package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"

	"millrace/platform/errs"
)

// Behind reports whether Migrate with the same arguments would apply a migration. It
// changes nothing. If the user may not read the version table, it returns false. A
// schema that a newer program has migrated is not behind.
func Behind(ctx context.Context, db *sql.DB, schema, versionTable string, files fs.FS) (behind bool, err error) {
	defer errs.Wrap(&err, "look at the version of schema %s", schema)
	missing, _, err := missing(ctx, db, schema, versionTable, files)
	return len(missing) > 0, err
}

// missing returns the versions of the files that the version table does not list. known is
// false without such a table, when all are missing, and if the user may not read it, when
// none is returned.
func missing(ctx context.Context, db *sql.DB, schema, versionTable string, files fs.FS) (versions []int64, known bool, err error) {
	wanted, err := versionsOf(files)
	if err != nil {
		return nil, false, err
	}
	var there, readable bool
	err = db.QueryRowContext(ctx, `
		SELECT c.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false)
		FROM (SELECT) AS always LEFT JOIN pg_namespace n ON n.nspname = $1 LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $2`,
		schema, versionTable).Scan(&there, &readable)
	switch {
	case err != nil:
		return nil, false, err
	case !there:
		return wanted, false, nil
	case !readable:
		return nil, false, nil
	}
	rows, err := db.QueryContext(ctx, fmt.Sprintf(`SELECT version_id FROM %q.%q WHERE is_applied`, schema, versionTable))
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for rows.Next() {
		var applied int64
		if err := rows.Scan(&applied); err != nil {
			return nil, false, err
		}
		wanted = slices.DeleteFunc(wanted, func(v int64) bool { return v == applied })
	}
	return wanted, true, rows.Err()
}

var migrationFile = regexp.MustCompile(`^(\d+)_.*\.sql$`)

func versionsOf(files fs.FS) (versions []int64, err error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		found := migrationFile.FindStringSubmatch(path.Base(name))
		if found == nil {
			continue // goose ignores such files, too
		}
		version, err := strconv.ParseInt(found[1], 10, 64)
		if err != nil {
			return nil, err
		}
		versions = append(versions, version)
	}
	return versions, nil
}
