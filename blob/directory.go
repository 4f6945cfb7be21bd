package blob

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// directory is a Bucket of files. An object is written under a temporary name
// beside its own, synced, renamed (or linked, where nothing may be replaced), and
// then the directory is synced, so that neither a crash nor a loss of power shows
// a part of it, or loses it after Put has returned. All access goes through a
// root that names cannot leave, by symbolic links either.
type directory struct {
	root *os.Root
}

// temporary begins the names of files that are being written. No valid Name
// begins so.
const temporary = ".put-"

// OpenDirectory returns the bucket of a directory, which it makes if needed.
func OpenDirectory(dir string) (Bucket, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, permanent(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, permanent(err)
	}
	return &directory{root: root}, nil
}

// permanent marks an error of the file system with what a Bucket says by it.
func permanent(err error) error {
	var mark error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		mark = ErrNotExist
	case errors.Is(err, fs.ErrExist):
		mark = ErrExist
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrInvalid), isPermanentErrno(err):
		mark = ErrPermanent
	default:
		return err
	}
	return fmt.Errorf("%w: %w", mark, err)
}

// Put has two names for a moment if nothing may be replaced: a link fails where
// the name is taken, whereas a rename does not.
func (d *directory) Put(ctx context.Context, name Name, content Source, ifAbsent bool) error {
	target := filepath.FromSlash(string(name))
	dir := filepath.Dir(target)
	if err := d.makeDirs(dir); err != nil {
		return err
	}
	f, temp, err := d.create(dir)
	if err != nil {
		return err
	}
	err = d.fill(ctx, f, content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = ctx.Err()
	}
	switch {
	case err != nil:
	case ifAbsent:
		err = d.root.Link(temp, target)
	default:
		err = d.root.Rename(temp, target)
	}
	if err != nil || ifAbsent {
		err = errors.Join(err, d.root.Remove(temp))
	}
	if err != nil {
		return permanent(err)
	}
	return d.sync(dir)
}

// makeDirs makes a directory and those above it, and makes them last.
func (d *directory) makeDirs(dir string) error {
	if _, err := d.root.Stat(dir); err == nil {
		return nil
	}
	above := filepath.Dir(dir)
	if err := d.makeDirs(above); err != nil {
		return err
	}
	if err := d.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return permanent(err)
	}
	return d.sync(above)
}

// create makes a file with a name that nobody else uses.
func (d *directory) create(dir string) (*os.File, string, error) {
	for range 100 {
		temp := filepath.Join(dir, temporary+rand.Text())
		f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, temp, permanent(err)
		}
	}
	return nil, "", fmt.Errorf("%w: no free temporary name", ErrPermanent)
}

func (d *directory) fill(ctx context.Context, f *os.File, content Source) error {
	r := &contextReader{ctx: ctx, r: io.NewSectionReader(content, 0, content.Size())}
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, 256<<10))
	switch {
	case err != nil:
		return err
	case n != content.Size():
		return fmt.Errorf("%w: %d of %d bytes", io.ErrUnexpectedEOF, n, content.Size())
	}
	return f.Sync()
}

func (d *directory) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return permanent(err)
	}
	return permanent(errors.Join(f.Sync(), f.Close()))
}

func (d *directory) Get(ctx context.Context, name Name, offset, size int64) (io.ReadCloser, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&contextReader{ctx: ctx, r: io.NewSectionReader(f, offset, size)}, f}, nil
}

// open opens a regular file; a directory is no object.
func (d *directory) open(name Name) (*os.File, error) {
	f, err := d.root.Open(filepath.FromSlash(string(name)))
	if err != nil {
		return nil, permanent(notDir(err))
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, errors.Join(permanent(err), f.Close())
	case !info.Mode().IsRegular():
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrNotExist, info.Mode()), f.Close())
	}
	return f, nil
}

func (d *directory) Stat(_ context.Context, name Name) (int64, error) {
	info, err := d.root.Lstat(filepath.FromSlash(string(name)))
	switch {
	case err != nil:
		return 0, permanent(notDir(err))
	case !info.Mode().IsRegular():
		return 0, fmt.Errorf("%w: %s", ErrNotExist, info.Mode())
	}
	return info.Size(), nil
}

// List walks the directories that can have names of the page. A walk is in order
// of names part by part; that of whole names, in which '/' is a byte like others,
// follows from sorting directories as if their names ended in a slash.
func (d *directory) List(ctx context.Context, prefix string, after Name, limit int) ([]Info, bool, error) {
	w := &walk{ctx: ctx, root: d.root.FS(), prefix: prefix, after: string(after), limit: limit}
	if err := w.visit("."); err != nil {
		return nil, false, permanent(err)
	}
	if len(w.page) > limit {
		return w.page[:limit], true, nil
	}
	return w.page, false, nil
}

type walk struct {
	ctx           context.Context //nolint:containedctx // of one List
	root          fs.FS
	prefix, after string
	limit         int
	page          []Info // of one more than limit at most
}

func (w *walk) visit(dir string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := fs.ReadDir(w.root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	type item struct {
		name  string // that of a directory ends in a slash
		entry fs.DirEntry
	}
	items := make([]item, 0, len(entries))
	for _, e := range entries {
		name := e.Name()
		if !validPart(name) {
			continue
		}
		if dir != "." {
			name = dir + "/" + name
		}
		if e.IsDir() {
			name += "/"
		}
		items = append(items, item{name, e})
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.name, b.name) })
	for _, it := range items {
		if len(w.page) > w.limit {
			return nil
		}
		if inner, ok := strings.CutSuffix(it.name, "/"); ok {
			if w.mayHave(it.name) {
				if err := w.visit(inner); err != nil {
					return err
				}
			}
			continue
		}
		if err := w.add(it.name, it.entry); err != nil {
			return err
		}
	}
	return nil
}

// mayHave reports whether names that begin with dir, which ends in a slash, can
// be on the page.
func (w *walk) mayHave(dir string) bool {
	matches := strings.HasPrefix(dir, w.prefix) || strings.HasPrefix(w.prefix, dir)
	return matches && (dir > w.after || strings.HasPrefix(w.after, dir))
}

func (w *walk) add(name string, entry fs.DirEntry) error {
	if name <= w.after || !strings.HasPrefix(name, w.prefix) || !entry.Type().IsRegular() {
		return nil
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	w.page = append(w.page, Info{Name: Name(name), Size: info.Size()})
	return nil
}

// Delete leaves directories, though empty: another put may be about to use one.
func (d *directory) Delete(ctx context.Context, names []Name) error {
	dirs := make(map[string]bool)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		target := filepath.FromSlash(string(name))
		if _, err := d.Stat(ctx, name); errors.Is(err, ErrNotExist) {
			continue
		}
		if err := d.root.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return permanent(fmt.Errorf("%s: %w", name, err))
		}
		dirs[filepath.Dir(target)] = true
	}
	for dir := range dirs {
		if err := d.sync(dir); err != nil {
			return err
		}
	}
	return nil
}

func (d *directory) Sweep(ctx context.Context, before time.Time) (int, error) {
	swept := 0
	err := fs.WalkDir(d.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			return nil // removed meanwhile
		case err != nil || entry.IsDir() || !strings.HasPrefix(entry.Name(), temporary):
			return err
		}
		info, err := entry.Info()
		if err == nil && info.ModTime().Before(before) {
			err = d.root.Remove(name)
			swept++
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return swept, permanent(err)
}
