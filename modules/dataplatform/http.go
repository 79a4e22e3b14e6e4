package dataplatform

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"millrace/platform/web"
)

// routes registers the module's HTTP operations.
func (s *service) routes(api huma.API) {
	web.Handle(api, huma.Operation{
		OperationID: "list-files", Method: http.MethodGet, Path: "/dataplatform/files", Tags: []string{"dataplatform"},
		Summary: "List the files of events, newest first",
	}, s.listFiles)
	web.Handle(api, huma.Operation{
		OperationID: "list-records", Method: http.MethodGet, Path: "/dataplatform/records", Tags: []string{"dataplatform"},
		Summary: "List the events of a key, newest first",
	}, s.listRecords)
}

type filesQuery struct{ web.Page }

type filesBody struct {
	Link string `header:"Link" doc:"The next page, as <?…>; rel=\"next\""`
	Body struct {
		Files []fileView `json:"files"`
		Next  string     `json:"next,omitempty" doc:"There are older ones: ask again with cursor set to this."`
	}
}

type fileView struct {
	Name      string    `json:"name" example:"events-000000000001-000000000500.parquet"`
	First     int64     `json:"first" doc:"The position of its first record."`
	Last      int64     `json:"last" doc:"The position of its last record."`
	Rows      int64     `json:"rows"`
	Bytes     int64     `json:"bytes"`
	SHA256    string    `json:"sha256"`
	WrittenAt time.Time `json:"writtenAt"`
}

func (s *service) listFiles(ctx context.Context, in *filesQuery) (*filesBody, error) {
	const scope = "files"
	behind, err := web.Behind(in.Page, scope, int64(math.MaxInt64))
	if err != nil {
		return nil, err
	}
	all, err := files(ctx, s.db, behind, in.Fetch())
	if err != nil {
		return nil, err
	}
	all, next := web.Cut(in.Page, scope, all, func(f file) int64 { return f.First })
	out := &filesBody{Link: next.Link}
	out.Body.Files, out.Body.Next = []fileView{}, next.Cursor
	for _, f := range all {
		out.Body.Files = append(out.Body.Files, fileView{
			Name: f.name(), First: f.First, Last: f.Last, Rows: f.rows(), Bytes: f.Bytes, SHA256: f.SHA256, WrittenAt: f.WrittenAt.UTC(),
		})
	}
	return out, nil
}

type recordsQuery struct {
	web.Page
	Key string `query:"key" required:"true" minLength:"1" maxLength:"256" doc:"An order key or a consultation's id."`
}

type recordsBody struct {
	Link string `header:"Link" doc:"The next page, as <?…>; rel=\"next\""`
	Body struct {
		Records []record `json:"records"`
		Next    string   `json:"next,omitempty" doc:"There are older ones: ask again with cursor set to this."`
	}
}

func (s *service) listRecords(ctx context.Context, in *recordsQuery) (*recordsBody, error) {
	scope := "records of " + in.Key
	behind, err := web.Behind(in.Page, scope, afterAll)
	if err != nil {
		return nil, err
	}
	all, err := recordsOf(ctx, s.db, in.Key, behind, in.Fetch())
	if err != nil {
		return nil, err
	}
	all, next := web.Cut(in.Page, scope, all, func(r record) place {
		return place{StagedAt: r.stagedAt, Topic: r.Topic, Partition: r.Partition, Sequence: r.Sequence}
	})
	out := &recordsBody{Link: next.Link}
	out.Body.Records, out.Body.Next = all, next.Cursor
	return out, nil
}
