package demo

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/parquet-go/parquet-go"
)

// filesHaveEverything compares the messages that the data platform recorded with the
// contents of its files.
func filesHaveEverything(ctx context.Context, e *evidence) (all []string, err error) {
	files, err := filepath.Glob(filepath.Join(e.files, "*.parquet"))
	if err != nil {
		return nil, err
	}
	in := map[string]string{} // message → file
	for _, file := range files {
		rows, err := parquet.ReadFile[struct {
			MessageID string `parquet:"message_id"`
		}](file)
		if err != nil {
			all = append(all, fmt.Sprintf("%s cannot be read: %s", filepath.Base(file), err))
			continue
		}
		for _, row := range rows {
			if earlier, twice := in[row.MessageID]; twice {
				all = append(all, fmt.Sprintf("event %s is in %s and in %s", row.MessageID, earlier, filepath.Base(file)))
			}
			in[row.MessageID] = filepath.Base(file)
		}
	}
	rows, err := e.db.QueryContext(ctx, `SELECT message_id::text FROM dataplatform.record`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		if in[id] == "" {
			all = append(all, fmt.Sprintf("event %s is staged, and in no file", id))
		}
		delete(in, id)
	}
	for id, file := range in {
		all = append(all, fmt.Sprintf("event %s is in %s, and was never staged", id, file))
	}
	return all, rows.Err()
}
