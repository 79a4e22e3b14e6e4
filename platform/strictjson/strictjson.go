// Package strictjson decodes JSON that others wrote. It refuses input that
// encoding/json would accept by guessing which field is meant.
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Unmarshal works like encoding/json's, but refuses input that JSON readers
// interpret differently: duplicate keys, a field's key in another case, and
// invalid UTF-8. Unknown keys are ignored. Its errors quote nothing of data but
// field names.
func Unmarshal(data []byte, into any) error {
	if err := check(data, reflect.TypeOf(into)); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// decoders are pooled because each one has buffers.
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(bytes.NewReader(nil)) }}

func check(data []byte, t reflect.Type) error {
	dec, ok := decoders.Get().(*jsontext.Decoder)
	if !ok {
		panic("strictjson: the pool has something else") // impossible: the pool's New creates decoders only
	}
	dec.Reset(bytes.NewBuffer(data)) // read without a copy
	err := value(dec, t)
	dec.Reset(bytes.NewReader(nil)) // do not keep the caller's data
	decoders.Put(dec)
	var broken *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errors.New("a key comes twice")
	case errors.As(err, &broken):
		return fmt.Errorf("not JSON at byte %d", broken.ByteOffset)
	}
	return err
}

// value reads the next value and checks the keys of everything in it that is
// decoded into a struct.
func value(dec *jsontext.Decoder, t reflect.Type) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	kind := dec.PeekKind()
	if t == nil || kind != '{' && kind != '[' || decodesItself(t) {
		return dec.SkipValue()
	}
	var element reflect.Type
	switch {
	case kind == '{' && t.Kind() == reflect.Struct:
		return object(dec, fieldsOf(t))
	case kind == '{' && t.Kind() == reflect.Map, kind == '[' && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
		element = t.Elem()
	default:
		return dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for end := kind + 2; dec.PeekKind() != end; { // '}' is '{' + 2, and ']' is '[' + 2
		if kind == '{' {
			if err := dec.SkipValue(); err != nil {
				return err
			}
		}
		if err := value(dec, element); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// object reads an object that is decoded into a struct.
func object(dec *jsontext.Decoder, fields map[string]reflect.Type) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		key, err := dec.ReadValue()
		if err != nil {
			return named(err, fields)
		}
		name := key[1 : len(key)-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			if name, err = jsontext.AppendUnquote(nil, key); err != nil {
				return err
			}
		}
		t, known := fields[string(name)]
		if !known {
			for field := range fields {
				if strings.EqualFold(field, string(name)) {
					return fmt.Errorf("the key %s is written in another case", field)
				}
			}
		}
		if err := value(dec, t); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// named adds the name of the field whose key occurs twice.
func named(err error, fields map[string]reflect.Type) error {
	var broken *jsontext.SyntacticError
	if errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &broken) {
		if name := broken.JSONPointer.LastToken(); fields[name] != nil {
			return fmt.Errorf("the key %s comes twice", name)
		}
	}
	return err
}

// decodesItself reports whether a type implements its own JSON decoding.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

var known sync.Map // of reflect.Type: map[string]reflect.Type

// fieldsOf returns the types of a struct's fields by JSON key.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if found, ok := known.Load(t); ok {
		if fields, ok := found.(map[string]reflect.Type); ok {
			return fields
		}
	}
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) { // including promoted fields
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported(), f.Tag.Get("json") == "-", f.Anonymous && name == "" && isStruct(f.Type):
			continue
		case name == "":
			name = f.Name
		}
		fields[name] = f.Type
	}
	known.Store(t, fields)
	return fields
}

func isStruct(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}
