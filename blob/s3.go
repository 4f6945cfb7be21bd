package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// s3Bucket is a Bucket of objects in S3 whose keys begin with a prefix. Its
// client tries requests again by itself: as often as the options say, and only as
// long as not most requests fail, by a budget of tries that successes fill.
type s3Bucket struct {
	client *s3.Client
	bucket string
	prefix string // empty, or ends in a slash
	opts   Options
}

// fallbackRegion signs requests to an endpoint of its own for which no region is
// configured; it is what such servers expect.
const fallbackRegion = "us-east-1"

// OpenS3 returns the part of a bucket of S3 where keys begin with a prefix. It
// loads the configuration, which is done here and not before: it costs time, and
// most processes have no use for it.
func OpenS3(ctx context.Context, bucket, prefix string, opts Options) (Bucket, error) {
	opts = opts.withDefaults()
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithLogger(logging.Nop{}), // what matters is in errors
		// A request's time includes that of its body, whichever way that goes.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(opts.RequestTimeout)),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = opts.Attempts
				o.MaxBackoff = opts.MaxBackoff
			})
		}))
	if err != nil {
		return nil, fmt.Errorf("%w: load the configuration: %w", ErrPermanent, err)
	}
	region := ""
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		if o.BaseEndpoint != nil {
			o.UsePathStyle = true
			if o.Region == "" {
				o.Region = fallbackRegion
			}
		}
		region = o.Region
	})
	if region == "" {
		return nil, fmt.Errorf("%w: no region: set AWS_REGION, or AWS_ENDPOINT_URL_S3 for another server than Amazon's", ErrPermanent)
	}
	if prefix != "" {
		prefix += "/"
	}
	return &s3Bucket{client: client, bucket: bucket, prefix: prefix, opts: opts}, nil
}

func (b *s3Bucket) key(name Name) *string { return aws.String(b.prefix + string(name)) }

func (b *s3Bucket) Put(ctx context.Context, name Name, content Source, ifAbsent bool) error {
	var condition *string
	if ifAbsent {
		condition = aws.String("*")
	}
	if content.Size() > b.partBytes(content.Size()) {
		return b.putParts(ctx, name, content, condition)
	}
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.bucket, Key: b.key(name), IfNoneMatch: condition,
		Body: io.NewSectionReader(content, 0, content.Size()), ContentLength: aws.Int64(content.Size()),
	})
	return s3Error(err)
}

func (b *s3Bucket) Get(ctx context.Context, name Name, offset, size int64) (io.ReadCloser, error) {
	r := &s3Reader{ctx: ctx, bucket: b, name: name, at: offset, end: offset + size, left: b.opts.Attempts}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

func (b *s3Bucket) Stat(ctx context.Context, name Name) (int64, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	if err != nil {
		return 0, s3Error(err)
	}
	return aws.ToInt64(out.ContentLength), nil
}

// List leaves out objects of others, whose names are no Names.
func (b *s3Bucket) List(ctx context.Context, prefix string, after Name, limit int) ([]Info, bool, error) {
	in := &s3.ListObjectsV2Input{
		Bucket: &b.bucket, Prefix: aws.String(b.prefix + prefix), MaxKeys: aws.Int32(int32(limit)), //nolint:gosec // at most MaxPage
	}
	if after != "" {
		in.StartAfter = b.key(after)
	}
	for {
		out, err := b.client.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, false, s3Error(err)
		}
		var page []Info
		for _, o := range out.Contents {
			name := Name(strings.TrimPrefix(aws.ToString(o.Key), b.prefix))
			if name.Check() == nil {
				page = append(page, Info{Name: name, Size: aws.ToInt64(o.Size)})
			}
		}
		more := aws.ToBool(out.IsTruncated)
		if len(page) > 0 || !more {
			return page, more, nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

func (b *s3Bucket) Delete(ctx context.Context, names []Name) error {
	objects := make([]types.ObjectIdentifier, len(names))
	for i, name := range names {
		objects[i].Key = b.key(name)
	}
	out, err := b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &b.bucket, Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
	})
	if err != nil {
		return s3Error(err)
	}
	for _, e := range out.Errors {
		code := aws.ToString(e.Code)
		if code == "NoSuchKey" {
			continue
		}
		err := fmt.Errorf("%s: %s: %s", aws.ToString(e.Key), code, aws.ToString(e.Message))
		if code == "AccessDenied" || code == "MethodNotAllowed" {
			return fmt.Errorf("%w: %w", ErrPermanent, err)
		}
		return err
	}
	return nil
}

// Sweep aborts uploads in parts that nobody has completed. Their parts are kept,
// and paid for, until somebody does.
func (b *s3Bucket) Sweep(ctx context.Context, before time.Time) (int, error) {
	in := &s3.ListMultipartUploadsInput{Bucket: &b.bucket, Prefix: &b.prefix}
	for swept := 0; ; {
		out, err := b.client.ListMultipartUploads(ctx, in)
		if err != nil {
			return swept, s3Error(err)
		}
		for _, u := range out.Uploads {
			if !strings.HasPrefix(aws.ToString(u.Key), b.prefix) || !aws.ToTime(u.Initiated).Before(before) {
				continue
			}
			if err := b.abort(ctx, u.Key, u.UploadId); err != nil {
				return swept, err
			}
			swept++
		}
		if !aws.ToBool(out.IsTruncated) {
			return swept, nil
		}
		in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
}

// s3Error marks an error of S3 with what a Bucket says by it.
func s3Error(err error) error {
	if err == nil {
		return nil
	}
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var response *awshttp.ResponseError
	status := 0
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	mark := ErrPermanent
	switch {
	case code == "NoSuchUpload":
		return err // completed or aborted by an earlier try: a new upload helps
	case code == "NoSuchKey", code == "NotFound":
		mark = ErrNotExist
	case status == http.StatusPreconditionFailed:
		mark = ErrExist
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status == http.StatusConflict,
		status < 400, status >= 500 && status != http.StatusNotImplemented, isThrottled(code):
		return err
	}
	return fmt.Errorf("%w: %w", mark, err)
}

// isThrottled reports whether a code, of whatever status, asks for patience.
func isThrottled(code string) bool {
	switch code {
	case "RequestTimeout", "RequestTimeTooSkewed", "ExpiredToken", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded":
		return true
	}
	return false
}
