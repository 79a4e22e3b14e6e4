package devserver

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/lib/pq"

	"millrace/platform/postgres/pgurl"
)

// ownerRole owns the databases. It may do everything in them and nothing else: it is no
// superuser, and may not create roles or databases.
const ownerRole = "millrace"

// OwnerURL is URL with the role that owns the databases made by CreateDatabase. Its
// password changes with each start.
func (s *Server) OwnerURL(database string) string {
	u, err := url.Parse(s.URL(database))
	if err != nil {
		panic(err) // the URL comes from URL
	}
	u.User = url.UserPassword(ownerRole, s.ownerPassword)
	return u.String()
}

// makeOwner creates the role that owns the databases, or gives it a new password.
func (s *Server) makeOwner(ctx context.Context, db *sql.DB) error {
	s.ownerPassword = rand.Text()
	var there bool
	if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", ownerRole).Scan(&there); err != nil {
		return err
	}
	verb := "CREATE"
	if there {
		verb = "ALTER"
	}
	_, err := db.ExecContext(ctx, verb+" ROLE "+ownerRole+" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD "+pq.QuoteLiteral(s.ownerPassword))
	return err
}

// CreateRoles creates roles without login, unless they exist, and makes the databases'
// owner a member, because it has no right to create roles.
func (s *Server) CreateRoles(ctx context.Context, roles ...string) error {
	return s.admin("postgres", func(db *sql.DB) error {
		for _, role := range roles {
			var there bool
			if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&there); err != nil {
				return err
			}
			statement := "GRANT " + pq.QuoteIdentifier(role) + " TO " + ownerRole
			if !there {
				statement = "CREATE ROLE " + pq.QuoteIdentifier(role) + " NOLOGIN; " + statement
			}
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// CreateDatabase creates a database that the owner's role owns, unless it exists. If the
// superuser owns it, as in an older version, the database and everything in it is given
// to that role.
func (s *Server) CreateDatabase(ctx context.Context, name string) error {
	quoted, superusers := pq.QuoteIdentifier(name), false
	err := s.admin("postgres", func(db *sql.DB) error {
		err := db.QueryRowContext(ctx, "SELECT pg_get_userbyid(datdba) = $2 FROM pg_database WHERE datname = $1", name, superuser).Scan(&superusers)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		_, err = db.ExecContext(ctx, "CREATE DATABASE "+quoted+" OWNER "+ownerRole)
		if again := pq.As(err, "42P04", "23505"); again != nil { // another process created it at the same time
			return nil //nolint:nilerr // the database exists
		}
		return err
	})
	if err != nil || !superusers {
		return err
	}
	err = s.admin(name, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, handOver+"ALTER DATABASE "+quoted+" OWNER TO "+ownerRole)
		return err
	})
	if err != nil {
		return fmt.Errorf("give database %s of an older version to role %s: %w", name, ownerRole, err)
	}
	return nil
}

// handOver gives the superuser's objects in a database to the owner's role, in the same
// transaction as the statement after it. Dependent objects follow their owner: indexes,
// the sequence of a column. Objects of extensions stay.
const handOver = `DO $$
DECLARE statement text;
BEGIN
	FOR statement IN
		WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
			parts AS (SELECT classid, objid FROM pg_depend
				WHERE deptype = 'e' OR deptype IN ('a', 'i') AND refobjsubid <> 0 AND classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass)
		SELECT format('ALTER SCHEMA %I OWNER TO ` + ownerRole + `', nspname) FROM pg_namespace
			WHERE oid IN (SELECT oid FROM ours) AND pg_get_userbyid(nspowner) = current_user
		UNION ALL SELECT format('ALTER TABLE %s OWNER TO ` + ownerRole + `', oid::regclass) FROM pg_class
			WHERE relnamespace IN (SELECT oid FROM ours) AND pg_get_userbyid(relowner) = current_user
			AND relkind IN ('r', 'p', 'v', 'm', 'S') AND ('pg_class'::regclass, oid) NOT IN (SELECT classid, objid FROM parts)
		UNION ALL SELECT format('ALTER ROUTINE %s OWNER TO ` + ownerRole + `', oid::regprocedure) FROM pg_proc
			WHERE pronamespace IN (SELECT oid FROM ours) AND pg_get_userbyid(proowner) = current_user
			AND ('pg_proc'::regclass, oid) NOT IN (SELECT classid, objid FROM parts)
	LOOP
		EXECUTE statement;
	END LOOP;
END $$;
`

// DropDatabase drops a database, if it exists, and disconnects its clients.
//
// WARNING: all data in the database is lost.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	return s.admin("postgres", func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(name)+" WITH (FORCE)")
		return err
	})
}

// admin calls do with a database opened as the superuser.
func (s *Server) admin(database string, do func(*sql.DB) error) (err error) {
	db, err := s.open(database)
	if err != nil {
		return err
	}
	defer func() { err = s.explain(errors.Join(err, db.Close()), "") }()
	return do(db)
}

// open returns a pool for a database of the server. It ignores libpq's environment
// variables.
func (s *Server) open(database string) (*sql.DB, error) {
	u, err := pgurl.Parse(s.URL(database))
	if err != nil {
		return nil, err
	}
	return u.Open()
}
