// Verifies a log directory with golang.org/x/mod/sumdb/{note,tlog}, which share no code with ours.
// Prints one line a check, "ok <what>" or "FAILED <what>: <why>"; exits 1 when one failed.
//
// usage: verify <log directory> <verifier key> [<older checkpoint file>]
//
//	sign <key name> <text>   signs the text with a new key; prints the verifier key and the note
//	trees                    proofs of small trees, made by transparency-dev/merkle
//	proofs                   reads proofs as JSON and has transparency-dev/merkle verify them
package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// files reads tiles of the C2SP layout: tile/<level>/<index>, where Go's own has tile/<height>/….
type files struct{ directory string }

func (files) Height() int                         { return height }
func (files) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (f files) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		bytes, err := os.ReadFile(filepath.Join(f.directory, path))
		if err != nil {
			return nil, err
		}
		data = append(data, bytes)
	}
	return data, nil
}

var failures int

func check(what string, err error) bool {
	if err != nil {
		failures++
		fmt.Printf("FAILED %s: %v\n", what, err)
		return false
	}
	fmt.Printf("ok %s\n", what)
	return true
}

// open verifies a checkpoint's signature and gives its tree.
func open(path string, verifiers note.Verifiers) (tlog.Tree, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(bytes, verifiers)
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.SplitN(opened.Text, "\n", 2)
	if len(lines) != 2 {
		return tlog.Tree{}, fmt.Errorf("malformed checkpoint")
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + lines[1]))
}

func entries(directory string, tree tlog.Tree, each func(int64, []byte) error) error {
	for first := int64(0); first < tree.N; first += 256 {
		tile := tlog.Tile{H: height, L: -1, N: first / 256, W: int(min(256, tree.N-first))}
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/data/", height), "tile/entries/", 1)
		bytes, err := os.ReadFile(filepath.Join(directory, path))
		if err != nil {
			return err
		}
		for at := int64(0); at < int64(tile.W); at++ {
			if len(bytes) < 2 || len(bytes) < 2+int(binary.BigEndian.Uint16(bytes)) {
				return fmt.Errorf("record %d is cut off", first+at)
			}
			end := 2 + int(binary.BigEndian.Uint16(bytes))
			if err := each(first+at, bytes[2:end]); err != nil {
				return err
			}
			bytes = bytes[end:]
		}
		if len(bytes) != 0 {
			return fmt.Errorf("bytes after record %d", first+int64(tile.W)-1)
		}
	}
	return nil
}

func run() {
	directory := os.Args[1]
	verifier, err := note.NewVerifier(os.Args[2])
	if !check("verifier key", err) {
		return
	}
	verifiers := note.VerifierList(verifier)
	tree, err := open(filepath.Join(directory, "checkpoint"), verifiers)
	if !check("signature of the checkpoint", err) {
		return
	}
	reader := tlog.TileHashReader(tree, files{directory})
	root, err := tlog.TreeHash(tree.N, reader)
	if err == nil && root != tree.Hash {
		err = fmt.Errorf("another root")
	}
	check(fmt.Sprintf("root of %d records", tree.N), err)
	check("every record is in the tree", entries(directory, tree, func(index int64, entry []byte) error {
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return err
		}
		leaf := tlog.RecordHash(entry)
		if hashes[0] != leaf {
			return fmt.Errorf("record %d does not hash to its leaf", index)
		}
		if index%37 != 0 && index != tree.N-1 {
			return nil
		}
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf)
	}))
	if len(os.Args) < 4 {
		return
	}
	older, err := open(os.Args[3], verifiers)
	if !check("signature of the older checkpoint", err) {
		return
	}
	proof, err := tlog.ProveTree(tree.N, older.N, reader)
	if err == nil {
		err = tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash)
	}
	check(fmt.Sprintf("the tree of %d extends that of %d", tree.N, older.N), err)
}

func signText(name, text string) error {
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n%s", public, signed)
	return nil
}

func main() {
	if len(os.Args) == 2 && os.Args[1] != "" {
		act := map[string]func() error{
			"trees":  func() error { return makeTrees(40) },
			"proofs": checkProofs,
		}[os.Args[1]]
		if act != nil {
			if err := act(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	if len(os.Args) == 4 && os.Args[1] == "sign" {
		if err := signText(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	run()
	if failures > 0 {
		os.Exit(1)
	}
}
