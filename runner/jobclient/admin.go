package jobclient

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What Beam's Job API has no call for, a server of gorunner offers beside it, at
// the same address:
//
//	Jobs(Empty) ListValue               the jobs, each a Struct: see [Detail]
//	Delete(StringValue) Empty           forget a job that has ended, and remove its files
//	Savepoint(StringValue) Struct       make a savepoint of a job: see [Savepoint]
//	DeleteSavepoint(StringValue) Empty  delete the one with the URI
const (
	AdminService          = "gorunner.Admin"
	MethodJobs            = "Jobs"
	MethodDelete          = "Delete"
	MethodSavepoint       = "Savepoint"
	MethodDeleteSavepoint = "DeleteSavepoint"
)

// Detail is a job with what only a server of gorunner tells of it.
type Detail struct {
	Job
	// Created is when it was submitted; zero if the server does not tell.
	Created time.Time
	// Durability is what it outlives.
	Durability string
	// DiskBytes is what its files take.
	DiskBytes int64
}

// The fields of a Detail as a Struct.
const (
	fieldID         = "id"
	fieldName       = "name"
	fieldState      = "state"
	fieldCreated    = "created"
	fieldDurability = "durability"
	fieldDisk       = "disk_bytes"
)

// Struct is the detail as it is sent.
func (d Detail) Struct() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		fieldID:         structpb.NewStringValue(d.ID),
		fieldName:       structpb.NewStringValue(d.Name),
		fieldState:      structpb.NewStringValue(string(d.State)),
		fieldCreated:    structpb.NewStringValue(d.Created.UTC().Format(time.RFC3339Nano)),
		fieldDurability: structpb.NewStringValue(d.Durability),
		fieldDisk:       structpb.NewNumberValue(float64(d.DiskBytes)),
	}}
}

func detailOf(s *structpb.Struct) Detail {
	text := func(field string) string { return s.GetFields()[field].GetStringValue() }
	created, err := time.Parse(time.RFC3339Nano, text(fieldCreated))
	if err != nil {
		created = time.Time{} // of another version: not told
	}
	return Detail{
		Job:     Job{ID: text(fieldID), Name: text(fieldName), State: State(text(fieldState))},
		Created: created, Durability: text(fieldDurability),
		DiskBytes: int64(s.GetFields()[fieldDisk].GetNumberValue()),
	}
}

// Details returns the jobs that the server knows, in its order. A server that is
// not gorunner tells less.
func (c *Client) Details(ctx context.Context) ([]Detail, error) {
	var list structpb.ListValue
	err := c.conn.Invoke(ctx, "/"+AdminService+"/"+MethodJobs, &emptypb.Empty{}, &list)
	if status.Code(err) == codes.Unimplemented {
		jobs, err := c.List(ctx)
		details := make([]Detail, len(jobs))
		for i, j := range jobs {
			details[i].Job = j
		}
		return details, err
	}
	if err != nil {
		return nil, c.plain("list jobs", err)
	}
	details := make([]Detail, len(list.GetValues()))
	for i, v := range list.GetValues() {
		details[i] = detailOf(v.GetStructValue())
	}
	return details, nil
}

// Delete lets the server forget a job that has ended, and remove its files.
func (c *Client) Delete(ctx context.Context, id string) error {
	err := c.conn.Invoke(ctx, "/"+AdminService+"/"+MethodDelete, wrapperspb.String(id), &emptypb.Empty{})
	if err != nil {
		return c.plain(fmt.Sprintf("delete job %s", id), err)
	}
	return nil
}

// Savepoint is a savepoint that was made.
type Savepoint struct {
	// URI names it.
	URI string
	// Bytes is the size of all its files, Uploaded of those that were not there yet.
	Bytes, Uploaded int64
	// Took is how long it took.
	Took time.Duration
}

// The fields of a Savepoint as a Struct.
const (
	fieldURI      = "uri"
	fieldBytes    = "bytes"
	fieldUploaded = "uploaded_bytes"
	fieldTook     = "took_seconds"
)

// Struct is the savepoint as it is sent.
func (s Savepoint) Struct() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		fieldURI:      structpb.NewStringValue(s.URI),
		fieldBytes:    structpb.NewNumberValue(float64(s.Bytes)),
		fieldUploaded: structpb.NewNumberValue(float64(s.Uploaded)),
		fieldTook:     structpb.NewNumberValue(s.Took.Seconds()),
	}}
}

// MakeSavepoint makes a savepoint of a running job, and returns when it is there.
func (c *Client) MakeSavepoint(ctx context.Context, id string) (Savepoint, error) {
	var out structpb.Struct
	if err := c.conn.Invoke(ctx, "/"+AdminService+"/"+MethodSavepoint, wrapperspb.String(id), &out); err != nil {
		return Savepoint{}, c.plain(fmt.Sprintf("make savepoint of job %s", id), err)
	}
	f := out.GetFields()
	return Savepoint{
		URI: f[fieldURI].GetStringValue(), Bytes: int64(f[fieldBytes].GetNumberValue()), Uploaded: int64(f[fieldUploaded].GetNumberValue()),
		Took: time.Duration(f[fieldTook].GetNumberValue() * float64(time.Second)),
	}, nil
}

// DeleteSavepoint deletes the savepoint with a URI, of a job that runs on the
// server or of one that has ended.
func (c *Client) DeleteSavepoint(ctx context.Context, uri string) error {
	err := c.conn.Invoke(ctx, "/"+AdminService+"/"+MethodDeleteSavepoint, wrapperspb.String(uri), &emptypb.Empty{})
	if err != nil {
		return c.plain(fmt.Sprintf("delete savepoint %s", uri), err)
	}
	return nil
}
