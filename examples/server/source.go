package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An entry is one value of the configuration. Its name is as it was written,
// with ":" between the levels, as in ASP.NET.
type entry struct {
	name, value, from string
}

// A source is the flat view of a configuration that ASP.NET takes: every value
// is a text under a path, whose case does not matter, and a later layer covers
// an earlier one value by value.
type source map[string]entry

// A layer is a file's entries or those of the environment.
func (s source) cover(layer []entry) {
	for _, e := range layer {
		s[strings.ToLower(e.name)] = e
	}
}

// sections are the first levels that there are. Of the environment only what
// begins with one of them is ours.
func sections() []string {
	return []string{"jwt", "authentication", "sessions", "ratelimiting", "seededusers"}
}

// fromEnvironment picks the settings from variables as os.Environ lists them: a
// name's levels are parted by two underscores.
func fromEnvironment(environ []string) []entry {
	var found []entry
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		section, _, nested := strings.Cut(name, "__")
		if nested && slices.Contains(sections(), strings.ToLower(section)) {
			found = append(found, entry{strings.ReplaceAll(name, "__", ":"), value, "environment variable " + name})
		}
	}
	return found
}

// maxDepth is twice the depth of any setting.
const maxDepth = 8

// fromJSON flattens a settings file. An error in its syntax names the line and
// column where reading it ended. A byte order mark, which editors on Windows
// write and ASP.NET takes, is no part of the text.
func fromJSON(data []byte, file string) ([]entry, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if err := json.Unmarshal(data, new(json.RawMessage)); err != nil {
		return nil, locate(data, file, err)
	}
	f := flattener{decoder: json.NewDecoder(bytes.NewReader(data)), file: file, seen: make(map[string]bool)}
	f.decoder.UseNumber() // a value is quoted in errors as it was written
	if f.next() != json.Delim('{') {
		return nil, fmt.Errorf("evertoken: %s: the file is not a JSON object", file)
	}
	f.object(nil)
	return f.entries, f.err
}

// locate puts a line and a column, both counted from 1, to a syntax error.
func locate(data []byte, file string, err error) error {
	offset := int64(len(data))
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = min(max(syntax.Offset-1, 0), offset) // Offset counts the byte it stumbled over
	}
	before := data[:offset]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Errorf("evertoken: %s: line %d, column %d: %w", file, line, column, err)
}

// A flattener walks a JSON text that is known to be well formed. It stops at the
// first error.
type flattener struct {
	decoder *json.Decoder
	file    string
	seen    map[string]bool // paths in lower case
	entries []entry
	err     error
}

// next returns the next token. The text is well formed, so an error here would be
// a fault of ours; it is reported all the same.
func (f *flattener) next() json.Token {
	token, err := f.decoder.Token()
	if err != nil {
		f.fail("%w", err)
	}
	return token
}

// fail keeps the first error; what follows it is its echo.
func (f *flattener) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("evertoken: %s: %w", f.file, fmt.Errorf(format, args...))
	}
}

// object reads members up to and with the closing brace.
func (f *flattener) object(path []string) {
	for f.err == nil && f.decoder.More() {
		name := fmt.Sprint(f.next())
		f.value(append(slices.Clone(path), name))
	}
	f.next()
}

// array reads elements up to and with the closing bracket. Their paths end in
// their numbers, as ASP.NET has it, so that the environment can name them.
func (f *flattener) array(path []string) {
	for i := 0; f.err == nil && f.decoder.More(); i++ {
		f.value(append(slices.Clone(path), strconv.Itoa(i)))
	}
	f.next()
}

// value reads one value. An empty object or array leaves no entry: it sets
// nothing.
func (f *flattener) value(path []string) {
	name := strings.Join(path, ":")
	if len(path) > maxDepth {
		f.fail("%s is nested too deeply", dotted(name))
		return
	}
	token := f.next()
	switch token {
	case json.Delim('{'):
		f.object(path)
		return
	case json.Delim('['):
		f.array(path)
		return
	case nil:
		token = "" // null is an empty value
	}
	if f.seen[strings.ToLower(name)] {
		f.fail("%s is set twice", dotted(name))
	}
	f.seen[strings.ToLower(name)] = true
	f.entries = append(f.entries, entry{name, fmt.Sprint(token), f.file})
}

// dotted is how a setting's name is shown to people.
func dotted(name string) string { return strings.ReplaceAll(name, ":", ".") }
