#!/bin/sh
# Which sign does a clip show? No files of Signet are needed: the server describes its messages (reflection).
#
#     sh examples/curl/recognise.sh localhost:50053 clip.mp4
#
# It needs `buf`. `grpcurl -plaintext -d @ "$1" signet.v1.Recognizer/Recognize` takes the same request.
set -eu
case $2 in
*.safetensors) field=landmarks ;;
*) field=video ;;
esac
{
    printf '{"top_k": 3, "%s": "' "$field"
    base64 <"$2" | tr -d '\n'
    printf '"}'
} | buf curl --protocol grpc --http2-prior-knowledge --data @- "http://$1/signet.v1.Recognizer/Recognize"
