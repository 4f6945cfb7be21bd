package runner

import (
	"context"
	"io/fs"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gorunner/gorunner/runner/jobclient"
)

// admin offers what Beam's Job API has no call for: see [jobclient.AdminService].
type admin interface {
	jobs(ctx context.Context, _ *emptypb.Empty) (*structpb.ListValue, error)
	delete(ctx context.Context, id *wrapperspb.StringValue) (*emptypb.Empty, error)
	savepoint(ctx context.Context, id *wrapperspb.StringValue) (*structpb.Struct, error)
	deleteSavepoint(ctx context.Context, uri *wrapperspb.StringValue) (*emptypb.Empty, error)
}

func adminDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: jobclient.AdminService,
		HandlerType: (*admin)(nil),
		Methods: []grpc.MethodDesc{
			unary(jobclient.MethodJobs, admin.jobs),
			unary(jobclient.MethodDelete, admin.delete),
			unary(jobclient.MethodSavepoint, admin.savepoint),
			unary(jobclient.MethodDeleteSavepoint, admin.deleteSavepoint),
		},
	}
}

// unary makes a method of a function.
func unary[Req, Resp any](name string, do func(admin, context.Context, *Req) (*Resp, error)) grpc.MethodDesc {
	handle := func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		req := new(Req)
		if err := decode(req); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + jobclient.AdminService + "/" + name}
		//nolint:errcheck // gRPC has checked the one, and we have made the other
		call := func(ctx context.Context, req any) (any, error) { return do(srv.(admin), ctx, req.(*Req)) }
		if intercept == nil {
			return call(ctx, req)
		}
		return intercept(ctx, req, info, call)
	}
	return grpc.MethodDesc{MethodName: name, Handler: handle}
}

// adminService is the server of it.
type adminService struct{ server *Server }

//nolint:unparam // as gRPC wants it
func (a adminService) jobs(context.Context, *emptypb.Empty) (*structpb.ListValue, error) {
	list := new(structpb.ListValue)
	for _, j := range a.server.Jobs() {
		d := jobclient.Detail{
			Job:     jobclient.Job{ID: string(j.ID), Name: j.Name, State: jobclient.State(j.State.String())},
			Created: j.Created, Durability: j.Durability.String(), DiskBytes: j.Disk.Used,
		}
		list.Values = append(list.Values, structpb.NewStructValue(d.Struct()))
	}
	return list, nil
}

func (a adminService) delete(_ context.Context, id *wrapperspb.StringValue) (*emptypb.Empty, error) {
	if err := a.server.Delete(JobID(id.GetValue())); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (a adminService) savepoint(ctx context.Context, id *wrapperspb.StringValue) (*structpb.Struct, error) {
	info, err := a.server.Savepoint(ctx, JobID(id.GetValue()))
	if err != nil {
		return nil, err
	}
	return jobclient.Savepoint{URI: info.URI, Bytes: info.Bytes, Uploaded: info.Uploaded, Took: info.Took}.Struct(), nil
}

func (a adminService) deleteSavepoint(ctx context.Context, uri *wrapperspb.StringValue) (*emptypb.Empty, error) {
	if err := a.server.DeleteSavepoint(ctx, uri.GetValue()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// Delete forgets a job that has ended and removes its files, those of a stranded
// job too. The error is a gRPC status.
func (s *Server) Delete(id JobID) error {
	j, err := s.find(string(id))
	if err != nil {
		return err
	}
	if state, _ := j.hub.current(); !state.Terminal() {
		return status.Errorf(codes.FailedPrecondition, "runner: job %s is %v: cancel it first", id, state)
	}
	<-j.done // it has been put away
	s.mu.Lock()
	listed := s.unlist(j)
	s.mu.Unlock()
	if listed { // else it went by somebody else, or its time was over
		s.removeDir(j) // the files may be many: nobody is to wait for mu meanwhile
	}
	return nil
}

// dirBytes is what the files in a directory take, as far as they can be looked at.
func dirBytes(dir string) int64 {
	var total int64
	//nolint:errcheck // what cannot be looked at is not counted
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // the rest may do better
		}
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}
