package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"
)

const (
	// minPartBytes and maxParts are limits of S3.
	minPartBytes = 5 << 20
	maxParts     = 10000
	// abortTimeout bounds the word to S3 that an upload has failed.
	abortTimeout = 30 * time.Second
	// fetchParts says how many parts' worth is asked for in one request: the less
	// often the better, but each must end within its time.
	fetchParts = 8
)

// partBytes is the size of the parts of an object.
func (b *s3Bucket) partBytes(size int64) int64 {
	return max(b.opts.PartBytes, minPartBytes, (size+maxParts-1)/maxParts)
}

// putParts uploads an object in parts, each read straight from the content when
// it is sent. S3's own transfer manager copies parts into buffers first, memory
// that no budget knows of; hence not with that.
func (b *s3Bucket) putParts(ctx context.Context, name Name, content Source, condition *string) error {
	key := b.key(name)
	create := &s3.CreateMultipartUploadInput{Bucket: &b.bucket, Key: key}
	if b.client.Options().RequestChecksumCalculation != aws.RequestChecksumCalculationWhenRequired {
		create.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32 // that of the parts
	}
	upload, err := b.client.CreateMultipartUpload(ctx, create)
	if err != nil {
		return s3Error(err)
	}
	parts, err := b.sendParts(ctx, key, upload.UploadId, content)
	if err == nil {
		_, err = b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &b.bucket, Key: key, UploadId: upload.UploadId, IfNoneMatch: condition,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		err = s3Error(err)
	}
	if err == nil {
		return nil
	}
	// The caller may have given up; the parts are to go all the same.
	abortCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if abortErr := b.abort(abortCtx, key, upload.UploadId); abortErr != nil {
		// %v: what became of the parts says nothing of what became of the put.
		err = fmt.Errorf("%w; abort the upload: %v", err, abortErr) //nolint:errorlint // see above
	}
	return err
}

func (b *s3Bucket) sendParts(ctx context.Context, key, upload *string, content Source) ([]types.CompletedPart, error) {
	size, partBytes := content.Size(), b.partBytes(content.Size())
	parts := make([]types.CompletedPart, (size+partBytes-1)/partBytes)
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(b.opts.Parallel)
	for i := range parts {
		group.Go(func() error {
			from := int64(i) * partBytes
			n := min(partBytes, size-from)
			number := aws.Int32(int32(i) + 1) //nolint:gosec // at most maxParts
			out, err := b.client.UploadPart(sending, &s3.UploadPartInput{
				Bucket: &b.bucket, Key: key, UploadId: upload, PartNumber: number,
				Body: io.NewSectionReader(content, from, n), ContentLength: aws.Int64(n),
			})
			if err != nil {
				return fmt.Errorf("part %d of %d: %w", i+1, len(parts), s3Error(err))
			}
			parts[i] = types.CompletedPart{
				PartNumber: number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32,
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return parts, nil
}

// isBeyondEnd reports whether S3 says that a range has nothing of the object.
func isBeyondEnd(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "InvalidRange"
}

// abort forgets an upload; one that is not there is forgotten.
func (b *s3Bucket) abort(ctx context.Context, key, upload *string) error {
	_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.bucket, Key: key, UploadId: upload})
	var gone *types.NoSuchUpload
	if errors.As(err, &gone) || errors.Is(s3Error(err), ErrNotExist) {
		return nil
	}
	return s3Error(err)
}

// s3Reader reads an object range by range, and asks for the rest of a range again
// if the connection breaks. It belongs to one goroutine.
type s3Reader struct {
	ctx    context.Context //nolint:containedctx // io.Reader takes none
	bucket *s3Bucket
	name   Name

	body io.ReadCloser // of the range that at is in; nil between ranges
	// at is where the next byte is, limit where the range ends, and end where the
	// object does, or what is wanted of it.
	at, limit, end int64
	// left is how often a read may fail until the error is the caller's.
	left int
}

// open asks for the next range.
func (r *s3Reader) open() error {
	r.limit = min(r.end, r.at+fetchParts*r.bucket.opts.PartBytes)
	out, err := r.bucket.client.GetObject(r.ctx, &s3.GetObjectInput{
		Bucket: &r.bucket.bucket, Key: r.bucket.key(r.name),
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", r.at, r.limit-1)),
	})
	if err != nil {
		if isBeyondEnd(err) {
			r.end = r.at
			return nil
		}
		return s3Error(err)
	}
	total, err := totalSize(out)
	if err != nil {
		return errors.Join(err, out.Body.Close())
	}
	r.body, r.end = out.Body, min(r.end, total)
	r.limit = min(r.limit, r.end)
	return nil
}

// totalSize is the size of the object that a range is of.
func totalSize(out *s3.GetObjectOutput) (int64, error) {
	text := aws.ToString(out.ContentRange)
	_, total, _ := strings.Cut(text, "/")
	n, err := strconv.ParseInt(total, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: the server answers a request for a range with Content-Range %q", ErrPermanent, text)
	}
	return n, nil
}

func (r *s3Reader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if r.at >= r.end {
			return 0, io.EOF
		}
		if r.body == nil {
			if err := r.open(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.limit-r.at)])
		r.at += int64(n)
		if err != nil || r.at == r.limit {
			_ = r.body.Close() // it was only read
			r.body = nil
		}
		if n > 0 {
			return n, nil
		}
		if err != nil {
			if err := r.again(err); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}

// again says whether to go on after an error in the middle of a range.
func (r *s3Reader) again(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	r.left--
	if r.left <= 0 || r.ctx.Err() != nil {
		return err
	}
	return nil
}

func (r *s3Reader) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
