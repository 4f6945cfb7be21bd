package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxFileLines bounds a source file that is neither a test nor generated.
const maxFileLines = 500

// A source is what the checks know of one Go file.
type source struct {
	name      string // slash-separated, relative to the module
	imports   []string
	lines     int
	generated bool
}

// pkg returns the directory of the file, which stands for its package: files of
// package foo_test keep to the rules of foo.
func (s source) pkg() string { return path.Dir(s.name) }

func (s source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// readModule parses every Go file of the module at the root of fsys, whatever
// its build constraints. Modules nested in it are none of its business.
func readModule(fsys fs.FS) ([]source, error) {
	var sources []source
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && isOutside(fsys, name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		s, err := readSource(fsys, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		sources = append(sources, s)
		return nil
	})
	return sources, err
}

// isOutside reports whether the go command would not see the directory as part
// of the module.
func isOutside(fsys fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	base := path.Base(dir)
	if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod"))
	return err == nil
}

func readSource(fsys fs.FS, name string) (source, error) {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return source{}, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	s := source{
		name:      name,
		lines:     strings.Count(string(text), "\n"),
		generated: ast.IsGenerated(file),
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, imported)
	}
	return s, nil
}

// A place is where the table puts a package.
type place struct {
	row
	layer   int
	pattern string // the package, or the tree it belongs to
}

// find returns the place of a package; the longest pattern that matches it wins.
func find(layers []layer, pkg string) (place, bool) {
	var best place
	found := false
	for i, l := range layers {
		for _, r := range l {
			for _, pattern := range strings.Fields(r.packages) {
				if matches(pattern, pkg) && (!found || precedes(pattern, best.pattern)) {
					best, found = place{row: r, layer: i, pattern: pattern}, true
				}
			}
		}
	}
	return best, found
}

// matches reports whether a pattern of the table names the package.
func matches(pattern, pkg string) bool {
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return isWithin(pkg, tree)
	}
	return pattern == pkg
}

// precedes reports whether pattern a is more specific than b where both match.
func precedes(a, b string) bool {
	aTree, bTree := strings.HasSuffix(a, "/..."), strings.HasSuffix(b, "/...")
	if aTree != bTree {
		return bTree
	}
	return len(a) > len(b)
}

func isWithin(importPath, tree string) bool {
	return importPath == tree || strings.HasPrefix(importPath, tree+"/")
}

func isWithinAny(importPath string, trees []string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool { return isWithin(importPath, tree) })
}

// checkImports returns a sentence for each violation of the table, in the order
// of the sources.
func checkImports(layers []layer, sources []source) []string {
	var violations []string
	unplaced := make(map[string]bool)
	for _, s := range sources {
		from, ok := find(layers, s.pkg())
		if !ok {
			if !unplaced[s.pkg()] {
				unplaced[s.pkg()] = true
				violations = append(violations, fmt.Sprintf("package %s has no place in the table of layers", s.pkg()))
			}
			continue
		}
		for _, imported := range s.imports {
			if why := checkImport(layers, s, from, imported); why != "" {
				violations = append(violations, fmt.Sprintf("%s imports %s: %s", s.name, imported, why))
			}
		}
	}
	return violations
}

// checkImport says why the import is not allowed, or nothing.
func checkImport(layers []layer, s source, from place, imported string) string {
	switch {
	case isWithin(imported, modulePath):
		target := strings.TrimPrefix(strings.TrimPrefix(imported, modulePath), "/")
		if target == s.pkg() {
			return "" // package foo_test imports foo
		}
		return checkLayers(layers, from, target)
	case isWithinAny(imported, protoPaths()):
		if !from.protos {
			return "only packages marked protos may import Beam's protos, gRPC and protobuf"
		}
	case isWithin(imported, goSDKPath):
		if !from.goSDK {
			return "only packages marked goSDK may import the Go SDK"
		}
	case isWithinAny(imported, testLibraryPaths()):
		if !s.isTest() && !strings.HasSuffix(s.pkg(), "test") {
			return "only tests may import a test library"
		}
	case isWithinAny(imported, impurePaths()):
		if from.pure && !s.isTest() {
			return "a package marked pure reaches no lock, randomness or outside world"
		}
	}
	return ""
}

// checkLayers says why a package at from may not import the package target of
// this module, or nothing.
func checkLayers(layers []layer, from place, target string) string {
	to, ok := find(layers, target)
	switch {
	case !ok:
		return "it has no place in the table of layers"
	case to.layer < from.layer:
		return ""
	case to.layer > from.layer:
		return fmt.Sprintf("layer %d must not know layer %d", from.layer, to.layer)
	case strings.HasSuffix(from.pattern, "/...") && to.pattern == from.pattern:
		return ""
	case slices.Contains(strings.Fields(from.also), to.pattern):
		return ""
	default:
		return fmt.Sprintf("both are on layer %d", from.layer)
	}
}

// checkTable returns a sentence for each mistake in the table itself, in its order.
func checkTable(layers []layer) []string {
	var mistakes []string
	layerOf := make(map[string]int)
	for i, l := range layers {
		for _, r := range l {
			for _, pattern := range strings.Fields(r.packages) {
				if _, ok := layerOf[pattern]; ok {
					mistakes = append(mistakes, fmt.Sprintf("%s is placed twice", pattern))
				}
				layerOf[pattern] = i
			}
		}
	}
	for i, l := range layers {
		for _, r := range l {
			for _, pattern := range strings.Fields(r.also) {
				if j, ok := layerOf[pattern]; !ok || j != i {
					mistakes = append(mistakes, fmt.Sprintf("%s may also import %s, which is not on its layer %d", r.packages, pattern, i))
				}
			}
		}
	}
	return mistakes
}

// checkLengths returns a sentence for each source file that is too long.
func checkLengths(sources []source) []string {
	var violations []string
	for _, s := range sources {
		if s.lines > maxFileLines && !s.isTest() && !s.generated {
			violations = append(violations, fmt.Sprintf("%s has %d lines, more than %d: split it by concept", s.name, s.lines, maxFileLines))
		}
	}
	return violations
}
