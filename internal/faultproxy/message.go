package faultproxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// Codes that a client sends in place of a protocol version, and the answer that means no.
const (
	sslRequest    = 80877103
	gssEncRequest = 80877104
	no            = "N"
)

const (
	query         = 'Q' // of a client: SQL without parameters
	readyForQuery = 'Z' // of a server: the end of an answer
)

// maxMessage is PostgreSQL's own bound. A longer one means that what we read is not its protocol.
const maxMessage = 1 << 30

// message is one message as it goes over the wire: type, length and content; the first of a client has no type.
type message []byte

// says reports whether it is a simple query that holds a word, in any case of letters.
func (m message) says(word string) bool {
	return m[0] == query && bytes.Contains(bytes.ToUpper(m[5:]), bytes.ToUpper([]byte(word)))
}

// readMessage reads a message whose length stands after head bytes.
func readMessage(in *bufio.Reader, head int) (message, error) {
	m := make(message, head+4)
	if _, err := io.ReadFull(in, m); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(m[head:])
	if length < 4 || length > maxMessage {
		return nil, errors.New("this is not PostgreSQL's protocol")
	}
	m = append(m, make([]byte, length-4)...)
	_, err := io.ReadFull(in, m[head+4:])
	return m, err
}

// readStartup reads the first message of a client, who has to do without encryption.
func readStartup(in *bufio.Reader, client net.Conn) (message, error) {
	for {
		m, err := readMessage(in, 0)
		if err != nil || len(m) < 8 {
			return m, err
		}
		if code := binary.BigEndian.Uint32(m[4:]); code != sslRequest && code != gssEncRequest {
			return m, nil
		}
		if _, err := client.Write([]byte(no)); err != nil {
			return nil, err
		}
	}
}
