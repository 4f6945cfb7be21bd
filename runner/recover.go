package runner

import (
	"context"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// recovery turns a panic in a call's handler into the failure of that call: a
// mistake of ours must not end the jobs of others.
func recovery(log *slog.Logger) []grpc.ServerOption {
	caught := func(method string, p any) error {
		log.Error("panic in a call", "method", method, "panic", p, "stack", string(debug.Stack()))
		return status.Errorf(codes.Internal, "runner: internal error in %s: %v", method, p)
	}
	unary := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = caught(info.FullMethod, p)
			}
		}()
		return next(ctx, req)
	}
	stream := func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = caught(info.FullMethod, p)
			}
		}()
		return next(srv, ss)
	}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(unary), grpc.ChainStreamInterceptor(stream)}
}
