"""One person in a room by the Python SDK, driven by lines of JSON.

Requests come on standard input, answers go to descriptor 3 (the SDK logs to standard error). The commands are those of
page/client.js.
"""

import asyncio
import json
import os
import sys
import time

import numpy as np
from livekit import rtc

SAMPLE_RATE = 48_000
FRAME_SAMPLES = SAMPLE_RATE // 100
FRAME_INTERVAL = 0.04
# Who has this much to send is heard.
AUDIBLE_SAMPLES = SAMPLE_RATE // 5


def kind_name(kind):
    return "video" if kind == rtc.TrackKind.KIND_VIDEO else "audio"


def now():
    """Milliseconds since 1970, which all people of a test share."""
    return time.time() * 1000


def about(publication, who):
    return {"identity": who.identity, "kind": kind_name(publication.kind), "sid": publication.sid}


def picture(width, height, number):
    """Four coloured quarters with a white bar that moves from frame to frame."""
    pixels = np.full((height, width, 4), (20, 30, 60, 255), dtype=np.uint8)
    pixels[:, : width // 2, 0] = 230
    pixels[: height // 2, :, 1] = 200
    bar = number * 8 % width
    pixels[:, bar : bar + 32] = 255
    return pixels.tobytes()


class Person:
    def __init__(self):
        self.room = rtc.Room()
        self.events = []
        self.received = []
        self.seen = {}
        self.heard = {}
        self.published = {}
        self.sources = []
        self.tasks = set()
        self.open = True
        self.audible = asyncio.Event()
        self.watch()

    def spawn(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def note(self, event, **details):
        self.events.append({"event": event, **details})

    def watch(self):
        on = self.room.on
        on("participant_connected", lambda who: self.note("joined", identity=who.identity))
        on("participant_disconnected", self.on_left)
        on("track_published", lambda publication, who: self.note("published", **about(publication, who)))
        on("track_unpublished", lambda publication, who: self.note("unpublished", **about(publication, who)))
        on("track_muted", lambda who, publication: self.note("muted", **about(publication, who)))
        on("track_unmuted", lambda who, publication: self.note("unmuted", **about(publication, who)))
        on("disconnected", lambda reason: self.note("disconnected", reason=str(reason)))
        on("reconnecting", lambda: self.note("reconnecting"))
        on("reconnected", lambda: self.note("reconnected"))
        on("data_received", self.on_data)
        on("track_subscribed", self.on_track)

    def on_left(self, who):
        reason = rtc.DisconnectReason.Name(who.disconnect_reason or 0)
        self.note("left", identity=who.identity, wall=now(), reason=reason)

    def on_data(self, packet):
        identity = packet.participant.identity if packet.participant else ""
        self.received.append(
            {"text": packet.data.decode(), "identity": identity, "kind": packet.kind, "topic": packet.topic or ""}
        )

    def on_track(self, track, publication, who):
        self.note("subscribed", **about(publication, who))
        video = track.kind == rtc.TrackKind.KIND_VIDEO
        self.spawn(self.look(track, who.identity) if video else self.listen(track, who.identity))

    async def look(self, track, identity):
        frames = 0
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.I420)
        async for event in stream:
            frames += 1
            self.seen[identity] = (frames, event.frame)
        await stream.aclose()

    async def listen(self, track, identity):
        packets = 0
        samples = np.zeros(0, dtype=np.int16)
        stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1)
        async for event in stream:
            packets += 1
            samples = np.concatenate([samples, np.frombuffer(event.frame.data, dtype=np.int16)])[-8192:]
            self.heard[identity] = (packets, samples)
        await stream.aclose()

    # Commands

    async def do_version(self):
        return rtc.__version__

    async def do_join(self, options):
        started = time.monotonic()
        auto_subscribe = (options.get("connect") or {}).get("autoSubscribe", True)
        await self.room.connect(options["url"], options["token"], rtc.RoomOptions(auto_subscribe=auto_subscribe))
        return {"ms": round((time.monotonic() - started) * 1000), "sid": self.room.local_participant.sid}

    async def do_tone(self, hz):
        source = rtc.AudioSource(SAMPLE_RATE, 1)
        self.sources.append(source)
        self.published["audio"] = rtc.LocalAudioTrack.create_audio_track("tone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self.room.local_participant.publish_track(self.published["audio"], options)
        self.spawn(self.play(source, hz))
        return publication.sid

    async def play(self, source, hz):
        """The source takes a frame when it has room for it: that is the clock."""
        at = 0
        while self.open:
            time_line = (at + np.arange(FRAME_SAMPLES)) / SAMPLE_RATE
            samples = (9_000 * np.sin(2 * np.pi * hz * time_line)).astype(np.int16)
            at += FRAME_SAMPLES
            await source.capture_frame(rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE, 1, FRAME_SAMPLES))
            if at > AUDIBLE_SAMPLES:
                self.audible.set()

    async def do_camera(self, options=None):
        options = options or {}
        width, height = options.get("width", 640), options.get("height", 360)
        source = rtc.VideoSource(width, height)
        self.sources.append(source)
        self.published["video"] = rtc.LocalVideoTrack.create_video_track("picture", source)
        publish = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
        publication = await self.room.local_participant.publish_track(self.published["video"], publish)
        self.show(source, width, height, 0)
        return publication.sid

    def show(self, source, width, height, number):
        if self.open:
            frame = rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, picture(width, height, number))
            source.capture_frame(frame)
            asyncio.get_running_loop().call_later(FRAME_INTERVAL, self.show, source, width, height, number + 1)

    async def do_mute(self, kind):
        self.published[kind].mute()

    async def do_unmute(self, kind):
        self.published[kind].unmute()

    async def do_send(self, options):
        await self.room.local_participant.publish_data(
            options["text"],
            reliable=options.get("reliable", True),
            destination_identities=options.get("to") or [],
            topic=options.get("topic") or "",
        )

    async def do_see(self, identity):
        if identity not in self.seen:
            return None
        frames, frame = self.seen[identity]
        luma = np.frombuffer(frame.data, dtype=np.uint8)[: frame.width * frame.height]
        return {
            "frames": frames,
            "width": frame.width,
            "height": frame.height,
            "brightness": round(float(luma.mean())),
            "variance": round(float(luma.var())),
        }

    async def do_hear(self, identity):
        if identity not in self.heard:
            return None
        packets, samples = self.heard[identity]
        spectrum = np.abs(np.fft.rfft(samples / 32_768 * np.hanning(len(samples)))) / max(len(samples), 1)
        levels = 20 * np.log10(np.maximum(spectrum, 1e-10))
        peak = int(levels[1:].argmax()) + 1
        return {
            "packets": packets,
            "hz": round(peak * SAMPLE_RATE / len(samples)),
            "level": round(float(levels[peak])),
            "prominence": round(float(levels[peak] - np.median(levels))),
        }

    async def do_events(self):
        return self.events

    async def do_received(self):
        return self.received

    async def do_others(self):
        return list(self.room.remote_participants)

    async def do_leave(self):
        self.open = False
        for source in self.sources:
            await source.aclose()
        said = now()
        await self.room.disconnect()
        return said

    async def do_visit(self, options):
        """Another person joins, publishes for a moment and leaves; returns when it said so, and when the SDK had done it."""
        visitor = Person()
        await visitor.do_join(options)
        await visitor.do_tone(440)
        await visitor.do_camera()
        await visitor.audible.wait()
        said = await visitor.do_leave()
        return {"said": said, "done": now()}


async def answer(person, request, answers):
    try:
        value = await getattr(person, f"do_{request['command']}")(*request["args"])
        reply = {"id": request["id"], "value": value}
    except Exception as error:  # whatever went wrong is the tests' to judge
        reply = {"id": request["id"], "error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(reply) + "\n")
    answers.flush()


async def main():
    person = Person()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    with os.fdopen(3, "w") as answers:
        running = set()
        while line := await reader.readline():
            task = asyncio.ensure_future(answer(person, json.loads(line), answers))
            running.add(task)
            task.add_done_callback(running.discard)


asyncio.run(main())
