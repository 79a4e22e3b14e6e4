package dataplatform

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"millrace/platform/web"
)

// routes registers the module's operations.
func (s *service) routes(api huma.API) {
	web.Handle(api, huma.Operation{
		OperationID: "list-files", Method: http.MethodGet, Path: "/dataplatform/files", Tags: []string{"dataplatform"},
		Summary: "List the files of events, newest first",
	}, s.listFiles)
	web.Handle(api, huma.Operation{
		OperationID: "list-records", Method: http.MethodGet, Path: "/dataplatform/records", Tags: []string{"dataplatform"},
		Summary: "List the events of a key, oldest first",
	}, s.listRecords)
}

type filesQuery struct {
	Limit int `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"At most so many."`
}

type filesBody struct {
	Body struct {
		Dir   string     `json:"dir" doc:"The folder, on the machine that runs the program."`
		Files []fileView `json:"files"`
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
	all, err := files(ctx, s.db, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &filesBody{}
	out.Body.Dir, out.Body.Files = s.cfg.Dir, []fileView{}
	for _, f := range all {
		out.Body.Files = append(out.Body.Files, fileView{
			Name: f.name(), First: f.First, Last: f.Last, Rows: f.rows(), Bytes: f.Bytes, SHA256: f.SHA256, WrittenAt: f.WrittenAt.UTC(),
		})
	}
	return out, nil
}

type recordsQuery struct {
	Key   string `query:"key" required:"true" minLength:"1" maxLength:"256" doc:"An order key or a consultation's id."`
	Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"At most so many."`
}

type recordsBody struct {
	Body struct {
		Records []record `json:"records"`
	}
}

func (s *service) listRecords(ctx context.Context, in *recordsQuery) (*recordsBody, error) {
	all, err := recordsOf(ctx, s.db, in.Key, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &recordsBody{}
	out.Body.Records = all
	return out, nil
}
