package store

import (
	"embed"
	"io/fs"
)

//go:embed migrations
var migrations embed.FS

// Schema is a database schema with tables of the bus, and the migrations that make them,
// in the format of goose.
type Schema struct {
	Name  string
	Files fs.FS
}

// Schemas returns the schema bus, and those of the modules.
func Schemas(modules []string) []Schema {
	all := []Schema{{"bus", within("migrations/bus")}}
	for _, name := range modules {
		all = append(all, Schema{name, within("migrations/module")})
	}
	return all
}

func within(folder string) fs.FS {
	files, err := fs.Sub(migrations, folder)
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return files
}
