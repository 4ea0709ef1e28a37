"""The files of a Yamcs instance: which numbers of the mission stand where in its configuration."""

# Every line below was seen to work with Yamcs 5.12.8. What is not obvious there has its reason beside it in the files
# themselves, for whoever changes them. Two things are general:
#
# - Paths are relative: Yamcs runs in the folder that holds `etc` and `mdb`.
# - JSON is YAML, nearly: whatever comes from the mission as a text is written as a JSON string (`_flow`), but a letter
#   beyond the BMP as itself, since YAML reads the two escapes of JSON as two letters.

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.tc.tc_frame import FRAME_OCTETS_MAX
from flight.link.time.time_code import P_FIELD
from flight.link.tm_tc_stack import LinkConfig
from ground.xtce.dialect import YAMCS
from ground.xtce.document import xtce_document
from ground.xtce.names import ROOT_CONTAINER, named_for_xtce
from ground.xtce.telemetry import EVENT_PARAMETER
from ground.yamcs.event_templates import event_templates
from ground.yamcs.instance import YamcsInstance

HTTP_PORT = 8090  # the usual one of Yamcs
# Yamcs has no contacts: its timers go on while the node is not heard. So what it repeats without an answer, it repeats
# for longer than from pass to pass.
_REPEAT_S, _BETWEEN_PASSES_S = 10, 12_000
# Of its CFDP PDUs, and what such a PDU takes as a CLTU: packet, frame, and 8 octets for 7.
_PDU_OCTETS, _CLTU_OCTETS = 512, 616
_HEADER = "# Written by `orbitnode dictionary --yamcs`.\n"


def instance_files(instance: YamcsInstance) -> Mapping[str, str]:
    """Return the text of each file by its path in the folder of the instance."""
    system = named_for_xtce(instance.dictionary).mission
    database = f"mdb/{instance.name}.xml"
    return {
        "etc/yamcs.yaml": _SERVER.format(header=_HEADER, port=HTTP_PORT, name=_flow(instance.name)),
        f"etc/yamcs.{instance.name}.yaml": _instance(instance, system, database),
        "etc/processor.yaml": _HEADER + _PROCESSOR,
        "etc/events.yaml": _HEADER + "".join(f"- {_flow(row)}\n" for row in event_templates(instance.dictionary)),
        "etc/frames.sql": _streams(instance),
        database: xtce_document(instance.dictionary, YAMCS, instance.timeout_s),
    }


def _flow(value: object) -> str:
    # What cannot be printed is escaped: YAML allows little of it, and takes some of it as the end of a line.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _instance(instance: YamcsInstance, system: str, database: str) -> str:
    link, ports = instance.link, instance.ports
    node, ground = instance.entities
    root = f"/{system}/{ROOT_CONTAINER}"
    return "\n".join(
        [
            _HEADER + _SERVICES.format(
                event_parameter=_flow(f"/{system}/{EVENT_PARAMETER}"),
                dumps="[tm_dump]" if "playback" in link.carries else "[]",
                cfdp=_CFDP.format(
                    node=node, ground=ground, entity_octets=EntityConfig().entity_octets, pdu_octets=_PDU_OCTETS,
                    pause_ms=math.ceil(_CLTU_OCTETS * 8 * 1000 / link.uplink_rate_bps),
                    repeat_ms=_REPEAT_S * 1000, repeats=_BETWEEN_PASSES_S // _REPEAT_S,
                    inactivity_ms=_BETWEEN_PASSES_S * 1000,
                ) if "products" in link.carries else "",
            ),
            "dataLinks:",
            _TM_LINK.format(
                port=ports.listen_port, spacecraft=link.spacecraft_id, octets=link.frame_octets,
                channels="\n".join(_channels(link)),
            ),
            _TC_LINK.format(
                host=_flow(ports.node_host), port=ports.node_port, spacecraft=link.spacecraft_id,
                octets=FRAME_OCTETS_MAX, randomize=_flow(link.tc_randomizer), vcid=link.tc_vcid,
                t1_s=math.ceil(link.t1_s + 2 * link.light_time_s), limit=link.transmission_limit,
                window=link.fop_window, p_field=P_FIELD,
            ),
            _MDB.format(database=_flow(database)),
            "streamConfig:\n  tm:",
            *_tm_streams(link, _flow(root)),
            _OTHER_STREAMS,
        ]
    )  # fmt: skip


def _channels(link: LinkConfig) -> Iterable[str]:
    """Yield the virtual channels of the TM link, each with its stream."""
    local = "org.yamcs.tctm.GenericPacketPreprocessor", _LOCAL_TIME
    live, recorded = (
        ("org.yamcs.pus.PusPacketPreprocessor", _PUS_TIME.format(p_field=P_FIELD, more=more))
        for more in (_CORRELATED, _RECORDED)
    )
    channels = (
        ("realtime", link.vc_realtime, "tm_realtime", live),
        ("playback", link.vc_playback, "tm_dump", recorded),
        ("products", link.vc_products, "tm_files", local),
        ("", link.vc_idle, "tm_idle", local),
    )
    for role, vcid, stream, (preprocessor, arguments) in channels:
        if not role or role in link.carries:
            yield _CHANNEL.format(vcid=vcid, stream=stream, preprocessor=preprocessor, arguments=arguments)


def _tm_streams(link: LinkConfig, root: str) -> Iterable[str]:
    """Yield the streams of packets. Only live telemetry has a processor: what is played back is not what is now."""
    yield f"    - {{name: tm_realtime, processor: realtime, rootContainer: {root}}}"
    if "playback" in link.carries:
        yield f"    - {{name: tm_dump, rootContainer: {root}}}"
    if "products" in link.carries:
        yield f"    - {{name: tm_files, rootContainer: {root}}}"
    yield "    - {name: tm_idle}"


def _streams(instance: YamcsInstance) -> str:
    apid = instance.dictionary.apids.get("files")
    if "products" not in instance.link.carries or apid is None:
        return _FRAMES_SQL
    # A telecommand packet without secondary header, unsegmented; count and length are filled in when it is sent.
    return _FRAMES_SQL + _FILES_SQL.format(header=f"{0x1000 | apid:04X}C0000000")


_SERVER = """\
{header}# Start Yamcs in the folder above this one: `yamcsd --etc-dir etc`.
services:
  - class: org.yamcs.http.HttpServer
    args:
      # Whoever reaches this port may command the spacecraft, so it is open to this machine only. Before you open it
      # to others, give Yamcs users: security.yaml.
      address: 127.0.0.1
      port: {port}
dataDir: yamcs-data
# Files of both directions; a file that is to go up is put into cfdpUp.
buckets:
  - {{name: cfdpUp}}
  - {{name: cfdpDown}}
instances:
  - {name}
"""
_SERVICES = """\
services:
  - {{class: org.yamcs.archive.XtceTmRecorder}}
  - {{class: org.yamcs.archive.ParameterRecorder}}
  - {{class: org.yamcs.archive.AlarmRecorder}}
  - {{class: org.yamcs.archive.EventRecorder}}
  - {{class: org.yamcs.archive.ReplayServer}}
  - {{class: org.yamcs.archive.CommandHistoryRecorder}}
  - {{class: org.yamcs.archive.CcsdsTmIndex}}
  - class: org.yamcs.parameterarchive.ParameterArchive
    args: {{realtimeFiller: {{enabled: true}}, backFiller: {{enabled: true}}}}
  - class: org.yamcs.ProcessorCreatorService
    args: {{name: realtime, type: realtime}}
  - class: org.yamcs.pus.PusEventDecoder
    args:
      eventIdParameter: {event_parameter}
      eventTemplateFile: etc/events.yaml
      realtimeStreams: [tm_realtime]
      dumpStreams: {dumps}
{cfdp}\
  # Compares the node's time reports with their reception. An event says if the two part.
  - class: org.yamcs.time.TimeCorrelationService
    name: tco0
    args: {{onboardDelay: 0, accuracy: 0.05, validity: 0.5, defaultTof: 0}}
"""
_CFDP = """\
  - class: org.yamcs.cfdp.CfdpService
    name: cfdp0
    args:
      inStream: cfdp_in
      outStream: cfdp_out
      incomingBucket: cfdpDown
      entityIdLength: {entity_octets}
      sequenceNrLength: 4
      maxPduSize: {pdu_octets}
      sleepBetweenPdus: {pause_ms}  # what the way up takes for one
      immediateNak: false  # the node fills gaps after the end of the file, all by one request
      # Time out of contact counts as well, and a file may be spread over two passes.
      inactivityTimeout: {inactivity_ms}
      nakTimeout: {repeat_ms}
      eofAckTimeout: {repeat_ms}
      eofAckLimit: {repeats}
      finAckTimeout: {repeat_ms}
      finAckLimit: {repeats}
      localEntities: [{{name: ground, id: {ground}}}]
      remoteEntities: [{{name: node, id: {node}}}]
"""
_TM_LINK = """\
  - name: TM
    class: org.yamcs.tctm.ccsds.UdpTmFrameLink
    port: {port}
    frameType: TM
    spacecraftId: {spacecraft:#x}
    frameLength: {octets}
    errorDetection: CRC16
    clcwStream: clcw
    goodFrameStream: good_frame_stream
    badFrameStream: bad_frame_stream
    virtualChannels:
{channels}"""
_CHANNEL = """\
      - vcId: {vcid}
        ocfPresent: true
        service: PACKET
        maxPacketLength: 65542
        stream: {stream}
        packetPreprocessorClassName: {preprocessor}
        packetPreprocessorArgs:
{arguments}"""
_LOCAL_TIME = """\
          {useLocalGenerationTime: true, timestampOffset: -1, seqCountOffset: -1}"""
_PUS_TIME = """\
          errorDetection: {{type: NONE}}  # time reports have none, Yamcs would drop them; the frame's is checked
          pktTimeOffset: 13
          timePktTimeOffset: 7
          timeEncoding: {{type: CUC, epoch: TAI, implicitPField: {p_field:#x}}}
{more}"""
# A live packet whose time is not that of its reception gets the latter, and the service below says so.
_CORRELATED = """\
          performTimeCorrelation: true
          goodFrameStream: good_frame_stream
          tcoService: tco0"""
# What is played back is as old as it says, and comes from several stores in turn.
_RECORDED = """\
          checkSequence: false"""
_TC_LINK = """\
  - name: TC
    class: org.yamcs.tctm.ccsds.UdpTcFrameLink
    host: {host}
    port: {port}
    spacecraftId: {spacecraft:#x}
    maxFrameLength: {octets}
    errorDetection: CRC16
    cltuEncoding: BCH
    randomizeCltu: {randomize}
    virtualChannels:
      - vcId: {vcid}
        service: PACKET
        stream: tc_realtime
        multiplePacketsPerFrame: false
        commandPostprocessorClassName: org.yamcs.pus.PusCommandPostprocessor
        commandPostprocessorArgs:
          errorDetection: {{type: CRC-16-CCIIT}}
          timeEncoding: {{implicitPfield: true, pfield: {p_field:#x}}}
        useCop1: true
        clcwStream: clcw
        initialClcwWait: -1
        cop1T1: {t1_s}
        cop1TxLimit: {limit}
        slidingWindowWidth: {window}
"""
_MDB = """\
mdb:
  - {{type: xtce, args: {{file: {database}}}}}
"""
_OTHER_STREAMS = """\
  cmdHist: [cmdhist_realtime, cmdhist_dump]
  event: [events_realtime, events_dump]
  param: [pp_realtime, sys_param, proc_param]
  parameterAlarm: [alarms_realtime]
  eventAlarm: [event_alarms_realtime]
  tc: [{name: tc_realtime, processor: realtime}]
  sqlFile: etc/frames.sql
"""
_PROCESSOR = """\
realtime:
  services:
    - {class: org.yamcs.StreamTmPacketProvider}
    - {class: org.yamcs.StreamTcCommandReleaser}
    - {class: org.yamcs.tctm.StreamParameterProvider}
    - {class: org.yamcs.algorithms.AlgorithmManager}
    - {class: org.yamcs.parameter.LocalParameterManager}
  config:
    subscribeAll: true
    persistParameters: true
    alarm: {parameterCheck: true, parameterServer: enabled, eventServer: enabled}
    tmProcessor: {ignoreOutOfContainerEntries: false}

Archive:
  services:
    - {class: org.yamcs.tctm.ReplayService}
    - {class: org.yamcs.algorithms.AlgorithmManager}

ParameterArchive:
  services:
    - {class: org.yamcs.tctm.ReplayService}
    - {class: org.yamcs.algorithms.AlgorithmManager}
    - {class: org.yamcs.parameter.LocalParameterManager}

ArchiveRetrieval:
  services:
    - {class: org.yamcs.tctm.ReplayService}
    - {class: org.yamcs.algorithms.AlgorithmManager}
"""
_FRAMES_SQL = """\
create stream good_frame_stream(rectime timestamp, seq int, ertime hres_timestamp, scid int, vcid int, data binary)
create stream bad_frame_stream(rectime timestamp, seq int, ertime hres_timestamp, data binary)
create table if not exists bad_frames(rectime timestamp, seq int, ertime hres_timestamp, data binary, \
primary key(rectime, seq))
insert into bad_frames select * from bad_frame_stream
"""
_FILES_SQL = """\
create stream cfdp_in as select substring(packet, 6) as pdu from tm_files
create stream cfdp_out (gentime timestamp, entityId long, seqNum int, pdu binary)
insert into tc_realtime select gentime, 'cfdp' as origin, seqNum, '/yamcs/cfdp/upload' as cmdName, \
unhex('{header}') + pdu as binary from cfdp_out
"""
