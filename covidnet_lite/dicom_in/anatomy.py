"""Words and codes for parts of the body and for views, as headers name them.

A header that names something other than a chest from the front is grounds for refusal; a word that is not listed here
is ignored, and the image itself is judged. Words are English, Spanish, Portuguese, Italian, French and German; a star
stands for any letters. Codes are SNOMED CT and the SNOMED RT that DICOM used before (PS3.16, CID 4031 and 4010).
"""

from __future__ import annotations

import re
import unicodedata

# Stems within a word. Ribs, clavicles and the heart are examined on radiographs of the chest.
CHEST = tuple(
    "CHEST THORA TORAX TORAC TORAK PECHO PEITO PETTO LUNG PULM PNEUMO POUMON POLMON BRUST BORST KLATK PLUC CXR "
    "BABYGRAM RIBS COSTILLA COSTELA COSTOLA RIPPE CLAVIC SCHLUSSELBEIN HEART CORAZON CORACAO CUORE COEUR HERZ "
    "MEDIASTIN STERN ГРУД ЛЕГК ΘΩΡΑ 胸".split()
)
CHEST_WORDS = ("RIB", "THX", "COTES", "THORAX")
# Of the spine, including the thoracic spine.
SPINE = tuple("SPINE SPINAL VERTEB WIRBEL COLUMNA COLUNA COLONNA COLONNE RACHIS ESPINAZO".split())
OTHER = {
    "HAND": "HAND HANDS MANO MANOS MANI MAO MAOS MAIN MAINS HANDE",
    "FINGER": "*FINGER* DEDO DEDOS DITO DITA DOIGT DOIGTS THUMB* PULGAR POLEGAR POLLICE POUCE DAUMEN",
    "WRIST": "*WRIST* MUNECA* PUNHO* POLSO POLSI POIGNET* HANDGELENK* CARPAL* CARPUS SCAPHOID*",
    "FOREARM": "*FOREARM* ANTEBRA* AVAMBRAC* AVANTBRAS UNTERARM* RADIUS ULNA CUBITO",
    "ELBOW": "*ELBOW* CODO CODOS COTOVELO* GOMITO GOMITI COUDE* ELLENBOGEN* ELLBOGEN*",
    "ARM": "ARM ARMS BRAZO BRAZOS BRACO BRACOS BRACCIO BRAS OBERARM* UPPERARM HUMER* UMERO",
    "SHOULDER": "*SHOULDER* HOMBRO* OMBRO* SPALLA SPALLE EPAULE* SCHULTER* SCAPULA* ESCAPULA* OMOPLAT* ACJOINT AXILLA",
    "FOOT": "FOOT FEET PIE PIES PIEDE PIEDI PIED PIEDS FUSS FUSSE TOE TOES ZEHE* HEEL* CALCAN* FERSE TARS* METATARS*",
    "ANKLE": "*ANKLE* TOBILLO* TORNOZELO* CAVIGLI* CHEVILLE* SPRUNGGELENK* KNOCHEL",
    "KNEE": "*KNEE* RODILLA* JOELHO* GINOCCHI* GENOU* KNIE* PATELL* ROTULA*",
    "LEG": "LEG LEGS PIERNA* PERNA PERNAS GAMBA GAMBE JAMBE* BEIN BEINE UNTERSCHENKEL TIBIA* FIBULA* PERONE* CALF WADE",
    "THIGH": "THIGH* MUSLO* COXA COSCIA CUISSE* OBERSCHENKEL FEMUR*",
    "HIP": "HIP HIPS CADERA* QUADRIL ANCA ANCHE HANCHE* HUFTE* HUFTGELENK*",
    "PELVIS": "*PELVI* BACIA BACINO BASSIN BECKEN* SACR* COCCY* ILIUM",
    "EXTREMITY": "*EXTREMIT* EXTREMIDAD* ESTREMITA* LIMB LIMBS",
    "ABDOMEN": "*ABDOM* ADDOM* BAUCH* VENTRE BARRIGA BELLY KUB",
    "STOMACH": "STOMACH ESTOMAGO STOMACO ESTOMAC MAGEN COLON BOWEL RECTUM DUODEN* JEJUNUM ILEUM *ESOPHAG* ESOFAG*",
    "KIDNEY": "KIDNEY* RENAL RINON* RIM RINS RENE RENI REIN REINS NIERE* BLADDER URET* PROSTAT* UTER* LIVER PANCREA*",
    "SKULL": "*SKULL* CRANEO CRANIO CRANE CRANIUM SCHADEL* BRAIN CEREB* MASTOID* SELLA TURCICA",
    "HEAD": "HEAD HEADNECK CABEZA CABECA TESTA TETE KOPF FACE FACIAL* CARA ROSTO VOLTO GESICHT* SINUS* NASAL NOSE",
    "EYE": "EYE EYES ORBIT* ORBITA* OJO OJOS OLHO OCCHIO AUGE EAR OIDO",
    "JAW": "JAW *MANDIB* MAXIL* MASCELLA MACHOIRE KIEFER* DENTAL* TEETH TOOTH DIENTE* DENTE DENTI DENTS ZAHN* ZYGOMA",
    "NECK": "NECK CUELLO PESCOCO COLLO COU HALS CERVICAL* LARYNX LARINGE THYROID CAROTID",
    "BREAST": "BREAST* MAMMA* MAMMO* MAMA MAMAS SENO SENI SEIN SEINS",
    "SPINE": "LUMBAR* LOMBAR* LUMBO* LENDEN* LOMBAIRE* BWS HWS LWS BACK",
    "PHANTOM": "PHANTOM* FANTOM* FANTASMA",
}
_CODES = """
abdomen: 818981001 113345001 T-D4000; abdomen and pelvis: 818982008 416949008 R-FAB57; acromioclavicular joint:
85856004 T-15420; ankle joint: 70258002 T-15750; anus: 53505006 T-59900; back: 77568009 T-D2100; bile duct:
28273000 T-60610; biliary tract: 34707002 T-60600; bladder: 89837001 T-74000; bone of lower limb: 72001000
T-12700; bone of upper limb: 371195002 T-D0821; brain: 12738006 T-A0100; breast: 76752008 T-04000; calcaneus:
80144004 T-12770; cervical spine: 122494005 T-11501; cervico-thoracic spine: 1217257000; coccyx: 64688005 T-11BF0;
colon: 71854001 T-59300; common bile duct: 79741001 T-64500; duodenum: 38848004 T-58200; elbow joint: 16953009
T-15430; esophagus: 32849002 T-56000; esophagus stomach and duodenum: 110861005 T-DD163; extremity: 66019005
T-D0300; eye: 81745001 T-AA000; eye region: 371398005 T-D0801; facial bones: 91397008 T-11196; femur: 71341001
T-12710; fibula: 87342007 T-12750; finger: 7569003 T-D8800; foot: 56459004 T-D9700; forearm: 14975008 T-D8500;
gallbladder: 28231008 T-63000; hand: 85562004 T-D8700; head: 69536005 T-D1100; head and neck: 774007 T-D1000; hip:
29836001 T-D2500; hip joint: 24136001 T-15710; humerus: 85050009 T-12410; ileum: 34516001 T-58600; ilium: 22356005
T-12340; internal auditory canal: 361078006 T-AB959; jaw region: 661005 T-D1213; jejunum: 21306003 T-58400;
kidney: 64033007 T-71000; knee: 72696002 T-D9200; large intestine: 14742008 T-59000; larynx: 4596009 T-24100;
liver: 10200004 T-62000; liver and biliary structure: 303270005 T-50007; lower leg: 30021000 T-D9400; lower limb:
61685007 T-D9000; lumbar spine: 122496007 T-11503; lumbo-sacral spine: 1217253001; mandible: 91609006 T-11180;
mastoid bone: 59066005 T-11133; maxilla: 70925003 T-11170; muscle of lower limb: 102292000 T-14668; muscle of
upper limb: 30608006 T-13600; nasal bone: 74386004 T-11149; neck: 45048000 T-D1600; optic canal: 55024004 T-11102;
orbital structure: 363654007 T-D14AE; pancreas: 15776009 T-65000; pancreatic duct: 69930009 T-65010; pancreatic
duct and bile duct systems: 110621006 T-65600; paranasal sinus: 2095001 T-22000; parotid gland: 45289007 T-61100;
patella: 64234005 T-12730; pelvis: 816092008 12921003 T-D6000; pelvis and lower extremities: 1231522001; phantom:
706342009 R-FE0C7; prostate: 41216001 T-92000; rectum: 34402009 T-59600; sacro-coccygeal spine: 1217254007;
sacroiliac joint: 39723000 T-15680; sacrum: 54735007 T-11AD0; scapula: 79601000 T-12280; sella turcica: 42575006
T-D1460; sesamoid bones of foot: 58742003 T-12980; shoulder: 16982005 T-D2220; skull: 89546000 T-11100; small
intestine: 30315005 T-58000; spine: 421060004 T-D04FF; spleen: 78961009 T-C3000; sternoclavicular joint: 7844006
T-15610; stomach: 69695003 T-57000; submandibular gland: 54019009 T-61300; tarsal joint: 27949001 T-15770;
temporomandibular joint: 53620006 T-15290; thigh: 68367000 T-D9100; thoracic spine: 122495006 T-11502;
thoraco-lumbar spine: 1217256009; thumb: 76505004 T-D8810; thyroid: 69748006 T-B6000; toe: 29707007 T-D9800; upper
arm: 40983000 T-D8200; upper limb: 53120007 T-D8000; upper urinary tract: 431491007 T-7000B; ureter: 87953007
T-73000; urethra: 13648007 T-75000; uterus and fallopian tubes: 110639002 T-88920; vertebral column and cranium:
110517009 T-11011; wrist joint: 74670003 T-15460; zygoma: 13881006 T-11166
"""
# Chest, thoracic structure, thoracic cavity, lung, rib, clavicle, heart, mediastinum, sternum; chest with neighbours.
CHEST_CODES = frozenset(
    "816094009 51185008 43799004 39607008 113197003 51299004 80891009 72410000 56873002 86598002 302551006 "
    "416550000 416775004 417437006 416319003 416152001 "
    "T-D3000 T-28000 T-11300 T-12310 T-32000 T-D3300 T-11210 T-280A0 R-FAB52 R-FAB53 R-FAB54 R-FAB55 R-FAB56".split()
)
OTHER_CODES = {
    code: name.strip().upper()
    for name, codes in (part.split(":") for part in " ".join(_CODES.split()).split(";"))
    for code in codes.split()
}

FRONTAL_VIEWS = {
    "PA": "PA POSTEROANTERIOR POSTANT POSTEROANT DORSOVENTRAL",
    "AP": "AP ANTEROPOSTERIOR ANTPOST ANTEROPOST VENTRODORSAL",
    "FRONTAL": "FRONTAL* FRONT FRENTE APPA PAAP",
}
LATERAL_VIEWS = {"LATERAL": "LATERAL* LATERO* LAT LL RL LLAT RLAT LLL RLL PERFIL PROFIL* SEITLICH* SAGITTAL*"}
OTHER_VIEWS = {
    "OBLIQUE": "OBL OBLIQ* OBLIC* SCHRAG* RAO LAO RPO LPO RLO LLO RMLO LMLO",
    "AXIAL": "AXIAL* TANGENTIAL* SUPEROINFERIOR CRANIOCAUDAL CAUDOCRANIAL",
    "MAMMOGRAPHIC": "MLO CC ML LM LMO XCCL XCC",
    "OF THE HEAD": "TOWNE* WATERS CALDWELL STENVERS ODONTOID OCCLUSAL* PANORAM* CEPHALO* SUBMENTOVERTICAL",
    "OF A LIMB": "SWIMMER* SUNRISE SKYLINE MERCHANT FROG* PLANTODORSAL DORSOPLANTAR MORTISE",
}
# Lying on a side, which is a position of the patient: the view is still from the front.
DECUBITUS = "DECUB* LLD RLD"
VIEW_CODES = {
    "272479007": "PA", "399348003": "AP", "399033003": "FRONTAL",
    "R-40888": "PA", "R-10214": "PA", "R-10206": "AP", "R-10202": "FRONTAL",
    **dict.fromkeys("399067008 R-102CD 399198007 R-10232 399173006 R-10236 30730003 G-A145 399352003 R-10228 "
                    "399260004 R-10224".split(), "LATERAL"),
    **dict.fromkeys("399182000 R-102C1 399038007 R-10210 399006002 R-10212 399135007 R-10220 399356000 R-40985 "
                    "399236003 R-10234 399184004 R-10238 399059000 R-10216 399312000 R-10208 399160007 R-10204 "
                    "399225005 R-10250 399288005 R-10248 399099002 R-10230 399368009 R-10226 260427002 R-40783 "
                    "260426006 R-40782 399132005 R-10252 399325008 R-10254 399004004 R-10246".split(), "OBLIQUE"),
    **dict.fromkeys("399061009 R-10241 399110001 R-102C2 399162004 R-10242 399196006 R-10244".split(), "AXIAL"),
    **dict.fromkeys("399242004 R-102C6 399351005 R-102C7 260499007 R-40810 399360002 R-10257 399272005 R-102C5 "
                    "399255003 R-10256 399316002 R-102C8".split(), "OF THE HEAD"),
    **dict.fromkeys("399071006 R-102C3 399335002 R-102C4".split(), "OF A LIMB"),
}  # fmt: skip


# Letters with a stroke, and ligatures, which Unicode does not decompose.
LIGATURES = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})


def words_of(text: str) -> list[str]:
    """The words of a text in capitals, without accents and anything that is neither letter nor digit."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c)).translate(LIGATURES)
    return re.sub(r"[\W_]+", " ", plain).upper().split()


def first_match(words: list[str], table: dict[str, str]) -> str:
    """The name of the first entry of a table that one of the words is in; ``""`` for none."""
    return next((name for name, stems in table.items() if any(matches(word, stems) for word in words)), "")


def matches(word: str, stems: str) -> bool:
    """Whether a word matches one of the stems, which blanks separate; a star at an end stands for any letters."""
    return any(_matches_stem(word, stem) for stem in stems.split())


def _matches_stem(word: str, stem: str) -> bool:
    core = stem.strip("*")
    if stem.startswith("*"):
        return core in word
    return word.startswith(core) if stem.endswith("*") else word == core


def names_chest(words: list[str]) -> bool:
    """Whether a part of the body, as :func:`words_of` returns its words, is the chest or within it."""
    text = " ".join(words)
    if any(stem in text for stem in SPINE):
        return "CHEST" in text or "LUNG" in text
    if re.search(r"\bT\w? ?RAX", text):  # an O with an accent, lost to a wrong character set: T?RAX
        return True
    return any(stem in text for stem in CHEST) or any(word in CHEST_WORDS for word in words)


def other_part(words: list[str]) -> str:
    """The name of another part of the body, if the words name one, else ``""``."""
    if any(stem in word for stem in SPINE for word in words):
        return "SPINE"
    return first_match(words, OTHER)


def view_of(words: list[str]) -> tuple[str, str]:
    """``(frontal view, other view)``, by the words of a header: names in the tables above, ``""`` for none."""
    words = [*words, "".join(words)]
    frontal = [name for name, stems in FRONTAL_VIEWS.items() if any(matches(word, stems) for word in words)]
    lateral = "" if any(matches(word, DECUBITUS) for word in words) else first_match(words, LATERAL_VIEWS)
    other = first_match(words, OTHER_VIEWS)
    if frontal and lateral and not other:
        return "", ""  # an examination with several views; the header does not say which this is
    return (frontal[0] if len(frontal) == 1 else "FRONTAL" if frontal else ""), other or lateral
