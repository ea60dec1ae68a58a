// golang.org/x/crypto/ssh as the other side of our SSH transport: an implementation nobody here wrote,
// which has ML-KEM, and asks for new keys every 64 KB.
//
//	peer client <port> <kex> <cipher> <mac> <bytes>   runs "cat" a few times and compares
//	peer server <kex> <cipher> <mac>                  prints its port, answers "cat"
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"golang.org/x/crypto/ssh"
)

const rounds = 4

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func config(kex, cipher, mac string) ssh.Config {
	return ssh.Config{
		RekeyThreshold: 64 * 1024,
		KeyExchanges:   []string{kex},
		Ciphers:        []string{cipher},
		MACs:           []string{mac},
	}
}

func newSigner() ssh.Signer {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	fail(err)
	signer, err := ssh.NewSignerFromKey(private)
	fail(err)
	return signer
}

func client(port, kex, cipher, mac, size string) {
	wanted, err := strconv.Atoi(size)
	fail(err)
	connection, err := ssh.Dial("tcp", "127.0.0.1:"+port, &ssh.ClientConfig{
		Config:          config(kex, cipher, mac),
		User:            "web",
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(newSigner())},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	fail(err)
	defer connection.Close()
	data := make([]byte, wanted)
	_, err = rand.Read(data)
	fail(err)
	// The library asks for new keys from a goroutine of its own: one command may be over before that has run.
	for range rounds {
		session, err := connection.NewSession()
		fail(err)
		session.Stdin = bytes.NewReader(data)
		output, err := session.Output("cat")
		fail(err)
		if !bytes.Equal(output, data) {
			fail(fmt.Errorf("%d bytes came back, of %d", len(output), len(data)))
		}
	}
	fmt.Println("ok")
}

func server(kex, cipher, mac string) {
	settings := &ssh.ServerConfig{
		Config: config(kex, cipher, mac),
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			return nil, nil
		},
	}
	settings.AddHostKey(newSigner())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fail(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	socket, err := listener.Accept()
	fail(err)
	_, channels, requests, err := ssh.NewServerConn(socket, settings)
	fail(err)
	go ssh.DiscardRequests(requests)
	for opened := range channels {
		channel, requests, err := opened.Accept()
		fail(err)
		go func() {
			for request := range requests {
				fail(request.Reply(true, nil))
				if request.Type != "exec" {
					continue
				}
				go func() {
					_, err := io.Copy(channel, channel)
					fail(err)
					_, err = channel.SendRequest("exit-status", false, []byte{0, 0, 0, 5})
					fail(err)
					fail(channel.Close())
				}()
			}
		}()
	}
}

func main() {
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 6 && arguments[0] == "client":
		client(arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
	case len(arguments) == 4 && arguments[0] == "server":
		server(arguments[1], arguments[2], arguments[3])
	default:
		fail(fmt.Errorf("usage: peer client|server …"))
	}
}
