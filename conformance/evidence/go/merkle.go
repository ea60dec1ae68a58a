package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
)

// What another implementation of RFC 6962 says of trees of every size up to a limit.
type mergedTrees struct {
	Leaves      [][]byte
	Roots       [][]byte
	Inclusion   []inclusion
	Consistency []consistency
}

type inclusion struct {
	Index, Size uint64
	Proof       [][]byte
}

type consistency struct {
	First, Second uint64
	Proof         [][]byte
}

// makeTrees prints the proofs of trees of 0 to limit leaves, made by transparency-dev/merkle.
func makeTrees(limit uint64) error {
	var out mergedTrees
	tree := testonly.New(rfc6962.DefaultHasher)
	for at := uint64(0); at < limit; at++ {
		leaf := []byte(fmt.Sprintf("leaf %d", at))
		out.Leaves = append(out.Leaves, leaf)
		tree.AppendData(leaf)
	}
	for size := uint64(0); size <= limit; size++ {
		out.Roots = append(out.Roots, tree.HashAt(size))
		for index := uint64(0); index < size; index++ {
			hashes, err := tree.InclusionProof(index, size)
			if err != nil {
				return err
			}
			out.Inclusion = append(out.Inclusion, inclusion{index, size, hashes})
		}
		for first := uint64(1); first <= size; first++ {
			hashes, err := tree.ConsistencyProof(first, size)
			if err != nil {
				return err
			}
			out.Consistency = append(out.Consistency, consistency{first, size, hashes})
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

type ours struct {
	Index, Size uint64
	Leaf, Root  []byte
	Proof       [][]byte
	Holds       bool
}

// checkProofs reads proofs of ours, right and altered ones, and says of which it thinks otherwise.
func checkProofs() error {
	var proofs []ours
	if err := json.NewDecoder(os.Stdin).Decode(&proofs); err != nil {
		return err
	}
	hasher := rfc6962.DefaultHasher
	for _, one := range proofs {
		leaf := hasher.HashLeaf(one.Leaf)
		err := proof.VerifyInclusion(hasher, one.Index, one.Size, leaf, one.Proof, one.Root)
		if (err == nil) != one.Holds {
			return fmt.Errorf("record %d of %d: %v, we say %v", one.Index, one.Size, err, one.Holds)
		}
	}
	fmt.Println(len(proofs))
	return nil
}
